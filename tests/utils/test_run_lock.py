"""One process at a time works in a folder."""

import errno
import json
import os
import socket
import subprocess
import sys

import filelock
import pytest

from distill.evaluation.run_folder import RunFolder
from distill.sweeps import record
from distill.utils import run_lock
from distill.utils.errors import UserError, WriteError
from distill.utils.run_lock import LOCK, STATUS, Busy

HOLDER = (
    "import sys, os, time; from pathlib import Path; from distill.utils import run_lock\n"
    "from distill.sweeps import record\n"
    "folder = Path('run [x]')\n"
    "with run_lock.hold(folder):\n"
    "    record.write_status(folder)\n"
    "    if os.fork() == 0: time.sleep(20); os._exit(0)\n"  # as a worker of a data loader
    "    print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def holder(tmp_path, monkeypatch):
    """Another process that trains in the folder ``run [x]`` of the current one."""
    monkeypatch.chdir(tmp_path)
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOLDER], text=True, stdin=pipe, stdout=pipe) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_folder_is_held_by_one_process_until_it_is_killed(holder, tmp_path):
    folder, who = tmp_path / "run [x]", rf"is being trained by process {holder.pid} on {socket.gethostname()}: wait"
    for _ in range(2):
        with pytest.raises(Busy, match=who), run_lock.hold(folder):
            pass
    (folder / "config.yaml").touch()
    with pytest.raises(UserError, match=who) as refused:
        RunFolder(folder)
    assert "resume" not in str(refused.value)
    status = folder / STATUS
    whole = status.read_text()
    for content in (None, "{", "[]", json.dumps(json.loads(whole) | {"pid": 1 << 30})):  # the lock decides
        status.unlink() if content is None else status.write_text(content)
        with pytest.raises(Busy, match="is being trained by another process: wait"):
            run_lock.acquire(folder / LOCK, run_lock._refusal(folder, run_lock._live_status(folder)), 0.1)
    holder.kill()
    holder.wait()
    status.write_text(json.dumps(json.loads(whole) | {"host": "elsewhere"}))  # its heart was beating a moment ago
    with run_lock.hold(folder) as release:
        release()
    with pytest.raises(UserError, match=r"is not finished .*: continue it with python train.py 'resume=.*run \[x\].*'"):
        RunFolder(folder)


@pytest.mark.parametrize(
    ("error", "refused"),
    [(OSError(errno.ENOTSUP, "no locks"), False), (NotImplementedError("no flock"), False),
     (OSError(errno.EROFS, "Read-only file system"), True)],
)  # fmt: skip
def test_only_a_file_system_without_locks_goes_without_one(tmp_path, monkeypatch, error, refused):
    def acquire(self, **options):
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    (tmp_path / LOCK).touch()
    run_lock.check_idle(tmp_path)  # whoever reads needs no lock
    if not refused:
        assert run_lock.acquire(tmp_path / LOCK, "busy") is None
        return
    with pytest.raises(WriteError, match=r"\.lock cannot be written: Read-only file system"):
        run_lock.acquire(tmp_path / LOCK, "busy")


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="cannot be written: Not a directory"), run_lock.hold(tmp_path / "file" / "x"):
        pass


def test_without_locks_the_status_decides(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "acquire", lambda *_: None)
    with run_lock.hold(tmp_path):
        pass
    record.write_status(tmp_path)
    with run_lock.hold(tmp_path):  # a status of this process
        pass
    status = json.loads((tmp_path / STATUS).read_text())
    for changes, busy in (
        ({"pid": 1, "born": run_lock.start_time(1)}, True),
        ({"pid": 1, "born": "another"}, False),
        ({"pid": os.getppid(), "born": run_lock.start_time(os.getppid())}, False),
        ({"host": "elsewhere", "pid": 1}, True),
        ({"host": "elsewhere", "pid": 1, "updated": 0}, False),
    ):
        (tmp_path / STATUS).write_text(json.dumps(status | changes))
        try:
            with run_lock.hold(tmp_path):
                assert not busy, changes
        except Busy:
            assert busy, changes
