"""The live page: what it says while jobs run, with files half written or gone, and whom it answers."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from urllib.request import urlopen

import pytest

from copies import begin, copy_run
from distill.cli.watch import Options, watch
from distill.sweeps import record
from distill.sweeps.watch.progress import Live
from distill.sweeps.watch.server import Server
from distill.utils.errors import UserError


def job(folder, *overrides, **status):
    """A job that runs: in this process."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "command.yaml").write_text(json.dumps({"overrides": list(overrides), "config_dir": None}))
    record.write_status(folder, **status)


@pytest.fixture
def sweep(tmp_path):
    """Four jobs: one runs, one has failed, two have not begun."""
    folder = tmp_path / "sweep"
    begin(folder, "kd.T=1,2,4,8", jobs=4)
    job(folder / "0", "kd.T=1", training="student resnet8", epoch=3, max_epochs=8, val_score=0.5, left_s=59.5)
    (folder / "1").mkdir()
    record.fail(folder / "1", ["kd.T=2"], "out of <b>memory</b>")
    return folder


@contextmanager
def served(folder, host="127.0.0.1"):
    server = Server(folder, host, 0, 0.2)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(server, path="/", method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode(), response.headers
    finally:
        connection.close()


def test_what_runs_and_what_has_failed(sweep):
    html = Live(sweep).html()
    assert "0 of 4 jobs finished, 1 failed, 1 running, 2 not begun." in html
    assert '<progress value="2" max="8"' in html
    assert "student resnet8, epoch 3 of 8, 50.00 % on validation, about 60 s left" in html
    assert "out of &lt;b&gt;memory&lt;/b&gt;" in html
    assert "<b>memory" not in html


def test_a_run_alone_has_the_time_left_of_its_training(tmp_path):
    job(tmp_path / "run", "kd.T=1", training="teacher resnet20", epoch=1, max_epochs=2, left_s=240.0)
    html = Live(tmp_path / "run").html()
    assert "0 of 1 jobs finished, 1 running; about 4 min left." in html
    job(tmp_path / "run", "kd.T=1")
    assert "preparing" in Live(tmp_path / "run").html()


def test_the_page_follows_the_files(sweep, distilled):
    live = Live(sweep)
    assert "Best so far" not in live.html()
    copy_run(distilled, sweep / "2", ["kd.T=4"], 0.75, 0.5)
    html = live.html()
    assert "1 of 4 jobs finished" in html
    assert "kd.T=4: 75.00 % on validation, 50.00 % on test" in html
    assert "left.</p>" in html
    job(sweep / "0", "kd.T=1", training="student resnet8", epoch=8, max_epochs=8)
    assert "epoch 8 of 8" in live.html()


def test_files_that_are_half_written_damaged_or_gone(sweep, distilled):
    live = Live(sweep)
    copy_run(distilled, sweep / "2", ["kd.T=4"], 0.75, 0.5)
    summary = (sweep / "2" / "summary.json").read_text()
    (sweep / "2" / "summary.json").write_text(summary[:200])
    assert "2 failed, 1 running, 1 not begun" in live.html()
    (sweep / "2" / "summary.json").write_text(summary)
    assert "1 of 4 jobs finished" in live.html()
    (sweep / "0" / "status.json").write_text('{"pid": 1')
    assert "1 stopped" in live.html()
    for text in ("", "overrides: [", "[]", "\x00"):
        (sweep / "0" / "command.yaml").write_text(text)
        assert "1 of 4 jobs finished" in live.html()
    (sweep / "0" / "status.json").unlink()
    (sweep / "2" / "csv" / "version_0" / "metrics.csv").write_text("epoch,val/acc\n0,")
    assert "1 of 4 jobs finished" in live.html()
    sweep.rename(sweep.parent / "elsewhere")
    html = live.html()
    assert f"{sweep} does not exist" in html
    assert "1 of 4 jobs finished" in html


def test_pages_and_what_is_no_page(sweep, distilled):
    copy_run(distilled, sweep / "2", ["kd.T=4"], 0.75, 0.5)
    with served(sweep) as server:
        status, page, headers = answer(server)
        assert status == 200
        assert "<h1>" in page
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
        assert "student resnet8, epoch 3 of 8" in page
        assert "student resnet8, epoch 3 of 8" in answer(server, "/live")[1]
        assert "fetch" in answer(server, "/watch.js")[1]
        assert "Learning curves" in answer(server, "/report")[1]
        assert answer(server, method="HEAD")[1] == ""
        for path in ("/../sweep.yaml", "/sweep.yaml", "/0/status.json", "//etc/passwd", "/%2e%2e/x"):
            assert answer(server, path)[0] == 404
        assert answer(server, method="POST")[0] == 501
        files = {path: path.stat().st_mtime_ns for path in sweep.rglob("*")}
        answer(server, "/live")
        assert files == {path: path.stat().st_mtime_ns for path in sweep.rglob("*")}  # nothing is written


@pytest.mark.parametrize(
    ("host", "header", "status"),
    [
        ("127.0.0.1", "127.0.0.1:{port}", 200),
        ("127.0.0.1", "localhost:{port}", 200),
        ("127.0.0.1", "[::1]:{port}", 200),
        ("127.0.0.1", "evil.example:{port}", 421),  # a name that was led here
        ("127.0.0.1", "evil.example", 421),
        ("127.0.0.1", "localhost.evil.example", 421),
        ("127.0.0.1", "", 421),
        ("127.0.0.1", "[::1", 421),
        ("127.0.0.1", socket.gethostname() + ".x", 421),
        ("0.0.0.0", socket.gethostname(), 200),
        ("0.0.0.0", "evil.example", 421),
    ],
)
def test_only_requests_to_its_own_name_are_answered(sweep, host, header, status):
    with served(sweep, host) as server:
        assert answer(server, Host=header.format(port=server.server_port))[0] == status


def test_it_listens_on_loopback_only(sweep):
    with served(sweep) as server:
        assert server.socket.getsockname()[0] == "127.0.0.1"
        assert server.url == f"http://127.0.0.1:{server.server_port}/"
        with pytest.raises(
            UserError, match=rf"host=127.0.0.1 port={server.server_port} cannot be listened on: address"
        ):
            Server(sweep, "127.0.0.1", server.server_port, 1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folder": []}, "give the folder of one run or sweep, got none"),
        ({"folder": ["nowhere"]}, "nowhere does not exist"),
        ({"folder": ["."], "port": 70000}, r"port must be in \[0, 65535\], got 70000"),
        ({"folder": ["."], "every": 0.0}, "every must be at least 0.2, got 0.0"),
        ({"folder": ["."]}, r"\. is no sweep's folder"),
    ],
)
def test_mistakes(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        watch(Options(**options))


@pytest.mark.slow
def test_ctrl_c_ends_it(sweep):
    command = [sys.executable, "-m", "distill", "watch", str(sweep)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    try:
        line = process.stdout.readline()
        url = line.split()[-4]
        with urlopen(url, timeout=60) as response:
            assert b"0 of 4 jobs finished" in response.read()
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out, errors) == (0, "\nno longer watched\n", "")


@pytest.mark.slow
def test_a_browser_sees_what_changes(sweep, browser):
    with served(sweep) as server:
        page = browser.new_page()
        page.goto(server.url)
        page.get_by_text("epoch 3 of 8").wait_for()
        job(sweep / "0", "kd.T=1", training="student resnet8", epoch=4, max_epochs=8)
        page.get_by_text("epoch 4 of 8").wait_for(timeout=20_000)
    page.get_by_text("distill watch does not answer").wait_for(timeout=20_000)
    page.close()
