"""What a sweep's folder says, without running one."""

import json
import os
import subprocess
import sys
import time

import pytest

from distill.errors import UserError
from distill.sweeps import record
from distill.sweeps.callback import total
from distill.sweeps.jobs import FAILURE, SILENCE_S, STATUS, State, born, jobs, load, swept


def finished(sweep, number, acc, *overrides, wall_s=10.0):
    folder = sweep / str(number)
    folder.mkdir(parents=True)
    (folder / "command.yaml").write_text(json.dumps({"overrides": list(overrides), "config_dir": None}))
    report = {"student": {"last": {"val": {"acc": acc}}}, "wall_s": wall_s}
    (folder / "summary.json").write_text(json.dumps(report))


def test_states_overrides_and_swept_keys(tmp_path):
    finished(tmp_path, 0, 0.5, "kd.T=1", "+x=1", "seed=0")
    record.fail(tmp_path / "1", ["kd.T=2", "+x=1", "seed=0"], UserError("no such T"))
    for number in ("2", "10"):
        (tmp_path / number).mkdir()
        (tmp_path / number / "command.yaml").write_text("overrides: [kd.T=4, seed=0]\nconfig_dir: null")
    record.beat(tmp_path / "10", epoch=3)
    (tmp_path / "2/checkpoints").mkdir()
    found = jobs(tmp_path)
    assert [(job.folder.name, job.state) for job in found] == [
        ("0", State.finished), ("1", State.failed), ("2", State.stopped), ("10", State.running),
    ]  # fmt: skip
    assert found[0].overrides == {"kd.T": "1", "x": "1", "seed": "0"}
    assert found[1].failure["reason"] == "no such T"
    assert found[1].failure["traceback"] is None
    assert found[3].status["epoch"] == 3
    assert swept(found) == ["kd.T", "x"]


def test_folders_of_any_depth(tmp_path):
    finished(tmp_path / "resnet20-resnet8", "kd-0", 0.5)
    finished(tmp_path / "resnet20-vgg8", "kd-0", 0.5)
    assert len(jobs(tmp_path)) == 2
    assert len(jobs(tmp_path / "resnet20-vgg8/kd-0")) == 1
    assert jobs(tmp_path / "nowhere") == []


def test_a_process_that_is_gone_has_stopped(tmp_path):
    (tmp_path / "command.yaml").write_text("overrides: []\nconfig_dir: null")
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    record.beat(tmp_path)
    status = json.loads((tmp_path / STATUS).read_text())

    def state(**changes):
        (tmp_path / STATUS).write_text(json.dumps(status | changes | {"x": os.urandom(4).hex()}))
        return jobs(tmp_path)[0].state

    its = {"pid": child.pid, "born": born(child.pid)}
    assert state(**its) == State.running
    child.communicate(b"\n")
    assert state(**its) == State.stopped
    assert state() == State.running
    assert state(born="1") == State.stopped  # after a restart another process may have the number
    assert state(host="elsewhere", pid=child.pid) == State.running
    assert state(host="elsewhere", updated=time.time() - SILENCE_S - 1) == State.stopped


def test_an_error_of_ours_keeps_its_traceback(tmp_path):
    try:
        raise RuntimeError("out of memory\nmore")
    except RuntimeError as error:
        reason = record.fail(tmp_path, [], error)
    assert reason == "RuntimeError: out of memory"
    assert "test_sweep_jobs.py" in load(tmp_path / FAILURE)["traceback"]
    record.clear(tmp_path)
    assert not (tmp_path / FAILURE).exists()


def test_a_file_is_read_again_when_it_changes(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"x": 1}')
    assert load(path) == {"x": 1}
    path.write_text('{"x": 12}')
    assert load(path) == {"x": 12}
    path.write_text('{"x": ')
    assert load(path) is None
    path.unlink()
    assert load(path) is None


def test_progress_says_how_many_the_best_and_how_long(tmp_path):
    record.begin(tmp_path, {"overrides": [], "config_dir": None}, "basic", 5)
    assert record.progress(tmp_path) == "sweep: 0 of 5 done"
    finished(tmp_path, 0, 0.5, "kd.T=1", wall_s=30)
    finished(tmp_path, 1, 0.7, "kd.T=2", wall_s=50)
    record.fail(tmp_path / "2", ["kd.T=4"], "killed")
    assert record.progress(tmp_path) == (
        "sweep: 2 of 5 done, 1 failed, best 70.00 % on validation (kd.T=2), about 80 s left"
    )


def test_the_verdict_names_failed_and_missing_jobs(tmp_path):
    record.begin(tmp_path, {"overrides": [], "config_dir": None}, "basic", 3)
    finished(tmp_path, 0, 0.5, "kd.T=1")
    assert record.verdict(tmp_path).startswith("2 did not finish of 3 jobs; run these again with: ")
    record.fail(tmp_path / "1", ["kd.T=2"], "killed")
    assert record.verdict(tmp_path).startswith("1 failed and 1 did not finish of 3 jobs")
    record.clear(tmp_path / "1")
    finished(tmp_path, 2, 0.5, "kd.T=4")
    record.prune(tmp_path / "3", 2, 0.1)
    (tmp_path / "3/command.yaml").write_text("overrides: [kd.T=8]\nconfig_dir: null")
    assert record.verdict(tmp_path) is None
    assert record.progress(tmp_path).startswith("sweep: 2 of 3 done, 1 pruned, best")


@pytest.mark.parametrize(
    ("overrides", "sweeper", "expected"),
    [
        (["kd.T=1,2,4", "kd.alpha=0.1,0.5", "seed=range(0,3)", "data=digits"], {}, 18),
        (["kd=kd,dkd"], {"params": {"seed": "0,1,2"}}, 6),
        (["kd.T=1,2"], {"params": {"kd.T": "1,2,4"}}, 2),
        (["kd.T=interval(1,4)"], {}, None),
        (["kd.T=interval(1,4)"], {"n_trials": 20, "storage": None}, 20),
        (["kd.T=interval(1,4)"], {"n_trials": 20, "storage": "sqlite:///shared.db"}, None),
        (["kd.T=interval(1,4)"], {"n_trials": "many"}, None),
        ([], {}, 1),
    ],
)
def test_the_number_of_jobs(overrides, sweeper, expected):
    assert total(overrides, sweeper) == expected
