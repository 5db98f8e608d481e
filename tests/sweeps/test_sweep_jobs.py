"""What a sweep's folder says, without running one."""

import json
import os
import subprocess
import sys
import time

import pytest

from distill.sweeps import hydra_callback, record
from distill.sweeps.hydra_callback import check_same_jobs, count_jobs, grid
from distill.sweeps.jobs import FAILURE, State, jobs, load, read, swept_keys
from distill.utils.errors import UserError
from distill.utils.run_lock import HEARTBEAT_TIMEOUT_S, STATUS, start_time
from jobs import command
from summaries import epoch, student, write_summary


def finished(sweep, number, acc, *overrides, wall_s=10.0):
    folder = sweep / str(number)
    folder.mkdir(parents=True)
    (folder / "command.yaml").write_text(json.dumps({"overrides": list(overrides), "config_dir": None}))
    write_summary(folder, student=student(last=epoch(val=acc)), wall_s=wall_s)


def test_states_overrides_and_swept_keys(tmp_path):
    finished(tmp_path, 0, 0.5, "kd.T=1", "+x=1", "seed=0")
    record.fail(tmp_path / "1", ["kd.T=2", "+x=1", "seed=0"], UserError("no such T"))
    for number in ("2", "10"):
        (tmp_path / number).mkdir()
        (tmp_path / number / "command.yaml").write_text("overrides: [kd.T=4, seed=0]\nconfig_dir: null")
    record.write_status(tmp_path / "10", epoch=3)
    (tmp_path / "2/checkpoints").mkdir()
    found = jobs(tmp_path)
    assert [(job.folder.name, job.state) for job in found] == [
        ("0", State.finished), ("1", State.failed), ("2", State.stopped), ("10", State.running),
    ]  # fmt: skip
    assert found[0].overrides == {"kd.T": "1", "x": "1", "seed": "0"}
    assert found[1].failure["reason"] == "no such T"
    assert found[1].failure["traceback"] is None
    assert found[3].status["epoch"] == 3
    assert swept_keys(found) == ["kd.T", "x"]


def test_folders_of_any_depth(tmp_path):
    finished(tmp_path / "resnet20-resnet8", "kd-0", 0.5)
    finished(tmp_path / "resnet20-vgg8", "kd-0", 0.5)
    assert len(jobs(tmp_path)) == 2
    assert len(jobs(tmp_path / "resnet20-vgg8/kd-0")) == 1
    assert jobs(tmp_path / "nowhere") == []
    (tmp_path / "linked").symlink_to(tmp_path / "resnet20-vgg8")
    (tmp_path / "loop").symlink_to(tmp_path)
    finished(tmp_path / "1/2/3/4/5/6/7", "kd-0", 0.5)  # a folder per part of a path among the overrides
    finished(tmp_path / "1/2/3/4/5/6/7/8", "kd-1", 0.5)  # no sweep lies so deep
    assert len(jobs(tmp_path)) == 3


def test_a_process_that_is_gone_has_stopped(tmp_path):
    (tmp_path / "command.yaml").write_text("overrides: []\nconfig_dir: null")
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    record.write_status(tmp_path)
    status = json.loads((tmp_path / STATUS).read_text())

    def state(**changes):
        (tmp_path / STATUS).write_text(json.dumps(status | changes | {"x": os.urandom(4).hex()}))
        return jobs(tmp_path)[0].state

    its = {"pid": child.pid, "born": start_time(child.pid)}
    assert state(**its) == State.running
    child.communicate(b"\n")
    assert state(**its) == State.stopped
    assert state() == State.running
    assert state(born="1") == State.stopped  # after a restart another process may have the number
    assert state(host="elsewhere", pid=child.pid) == State.running
    assert state(host="elsewhere", updated=time.time() - HEARTBEAT_TIMEOUT_S - 1) == State.stopped


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
    record.begin(tmp_path, {"overrides": ["kd.T=1,2,4", "seed=0"], "config_dir": None}, "basic", 5)
    finished(tmp_path, 0, 0.5, "kd.T=1", wall_s=30)
    finished(tmp_path, 1, 0.7, "kd.T=2", wall_s=50)
    record.fail(tmp_path / "2", ["kd.T=4", "seed=0"], "killed")
    done = "2 of 5 done, 1 failed, best 70.00 % (kd.T=2), about 80 s left"
    assert record.progress(tmp_path, tmp_path / "0") == f"job 0 (kd.T=1): 50.00 %; {done}"
    assert record.progress(tmp_path, tmp_path / "2") == f"job 2 (kd.T=4): failed; {done}"


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
    line = "job 3 (kd.T=8): pruned after epoch 2 at 10.00 %; 2 of 3 done, 1 pruned, best "
    assert record.progress(tmp_path, tmp_path / "3").startswith(line)


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
    assert count_jobs(overrides, sweeper) == expected


def begun(sweep, jobs):
    """A sweep's folder whose jobs have begun, and nothing else of them."""
    record.begin(sweep, {"overrides": ["kd.T=1,2", "seed=0,1"], "config_dir": None}, "basic", 4)
    for number, overrides in enumerate(jobs):
        finished(sweep, number, 0.5, *overrides)
        (sweep / f"{number}/config.yaml").write_text("seed: 0")


def test_a_grid_may_grow_where_its_jobs_keep_their_numbers(tmp_path):
    begun(tmp_path, grid(["kd.T=1,2", "seed=0,1"], {}))
    check_same_jobs(tmp_path, grid(["kd.T=1,2,4", "seed=0,1", "data.num_workers=1"], {}))
    for other, said in (
        (["kd.T=1,2", "seed=0,1,2"], "number 2 has kd.T=2, and would have kd.T=1 now"),
        (["kd.T=1,3", "seed=0,1"], "number 2 has kd.T=2, and would have kd.T=3 now"),
        (
            ["kd.T=1,2", "seed=0,1", "trainer.max_epochs=9"],
            "no trainer.max_epochs, and would have trainer.max_epochs=9",
        ),
    ):
        with pytest.raises(UserError, match=said):
            check_same_jobs(tmp_path, grid(other, {}))
    (tmp_path / "2/config.yaml").unlink()  # refused before it began, as for a value out of range
    (tmp_path / "3/config.yaml").unlink()
    check_same_jobs(tmp_path, grid(["kd.T=1,3", "seed=0,1"], {}))


def test_a_command_that_asks_for_other_jobs_changes_nothing(tmp_path):
    begun(tmp_path / "sweep", grid(["kd.T=1,2", "seed=0,1"], {}))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    done = command("-m", "sweep.resume=sweep", "seed=0,1,2", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: sweep holds other jobs: number 2 has kd.T=2, and would have kd.T=1 now; ")
    assert done.stderr.count("\n") == 1
    after = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    assert {path: text for path, text in after.items() if path.name != hydra_callback.LOCK_FILE} == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["kd.TT=1,2"], "there is no key 'kd.TT'"),
        (["kd.T=1,"], "cannot read 'kd.T=1,': mismatched input"),
        (["kd.T=interval(1,10)"], "a grid takes values, as in kd.T=1,2,4; a range"),
        (["sweep.resume="], "sweep.resume= names no folder"),
        (["sweep.resum=x"], "there is no key 'sweep'; did you mean sweep.resume?"),
    ],
)
def test_a_mistake_leaves_no_sweep_behind(tmp_path, arguments, said):
    done = command("-m", *arguments, "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {said}")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_time_left_counts_the_place_that_has_become_free(tmp_path):
    record.begin(tmp_path, {"overrides": [], "config_dir": None}, "ray", 8)
    finished(tmp_path, 0, 0.5, wall_s=60)
    for number in ("1", "2", "3"):
        (tmp_path / number).mkdir()
        (tmp_path / number / "command.yaml").write_text("overrides: []\nconfig_dir: null")
        record.write_status(tmp_path / number)
    assert record.progress(tmp_path, tmp_path / "0").endswith("3 running, best 50.00 %, about 2 min left")


def test_a_damaged_summary_is_a_failure_that_says_so(tmp_path, distilled):
    (tmp_path / "command.yaml").write_text("overrides: [kd.T=2]\nconfig_dir: null\n")
    whole = (distilled / "summary.json").read_text()
    (tmp_path / "summary.json").write_text(whole.replace('"acc": 0', '"acc": 1', 1))
    job = read(tmp_path)
    assert (job.state, job.summary, job.overrides) == (State.failed, None, {"kd.T": "2"})
    assert "its checksum is wrong" in job.failure["reason"]


@pytest.mark.parametrize("name", [FAILURE, STATUS])
def test_a_damaged_record_is_never_taken_for_the_true_one(name, tmp_path):
    """Every byte of it flipped once: the job failed, or is at no one's work; never for another reason, or another's."""
    (tmp_path / "command.yaml").write_text("overrides: []\nconfig_dir: null")
    record.write_status(tmp_path, epoch=3)
    if name == FAILURE:
        record.fail(tmp_path, ["kd.T=2"], "no memory")
    true, whole = read(tmp_path), (tmp_path / name).read_bytes()
    for at in range(0, len(whole), 7):
        (tmp_path / name).write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        os.utime(tmp_path / name, ns=(at, at))  # else the same version for the reader
        found = read(tmp_path)
        for now, before in ((found.failure, true.failure), (found.status, true.status)):
            damaged = now is None or now.get("kind") == "damaged"
            assert (
                damaged or {key: now[key] for key in before} == before
            )  # a flip in the word "checksum" changes nothing
        assert found.state == (State.failed if name == FAILURE else found.state)
