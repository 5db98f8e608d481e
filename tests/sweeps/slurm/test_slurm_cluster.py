"""Multiruns on a real one-node Slurm on this machine. GPUs are declared: what counts is who is given which."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from itertools import combinations

import pytest

import one_node_slurm
from jobs import ROOT, TINY, command

pytest.importorskip("submitit", reason="submitit is not installed: pip install 'distill[slurm]'")
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(one_node_slurm.missing() is not None, reason=str(one_node_slurm.missing())),
]
JOB = ("-m", "hydra/launcher=slurm", "hydra.launcher.poll_s=0.5", *TINY, "logger=none", "trainer.accelerator=cpu")


@pytest.fixture(scope="module")
def here():
    with one_node_slurm.running(gpus=4) as environment:
        yield environment


def begun(here, place, *arguments):
    """A multirun, and its files of stdout and stderr."""
    with (place / "out").open("w") as out, (place / "err").open("w") as err:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), *JOB, *arguments], cwd=place, env={**os.environ, **here},
            stdout=out, stderr=err,
        )  # fmt: skip


def slurm(here, *arguments):
    """A command of Slurm's."""
    return subprocess.run(arguments, env={**os.environ, **here}, capture_output=True, text=True, check=True).stdout


def said(path):
    """A JSON file, perhaps just being replaced."""
    with suppress(OSError, ValueError):
        return json.loads(path.read_text())
    return {}


def until(true, process=None, seconds=200):
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None
        time.sleep(0.1)
    return found


def in_training(job):
    """A student's, so that there is a checkpoint."""
    status = said(job / "status.json")
    return status if str(status.get("training")).startswith("student") and status["epoch"] > 2 else None


def identity(job):
    return said(job / "slurm.json").get("id")


def summaries(sweep):
    return {int(path.parent.name): json.loads(path.read_text()) for path in sweep.glob("*/summary.json")}


def epochs(sweep, job):
    """Every epoch of the student that the log of a job tells of."""
    log = (sweep / f".submitit/{identity(sweep / str(job))}_0_log.out").read_text()
    _, *of_student = re.split(r"^training student resnet8(?: from epoch \d+)?\n", log, maxsplit=1, flags=re.M)
    return [int(number) for part in of_student for number in re.findall(r"^epoch (\d+)/", part, re.M)], log


@pytest.fixture(scope="module")
def disturbed(here, tmp_path_factory):
    """Five jobs on four declared GPUs: the third is killed, the fourth comes to its time limit, the fifth is cancelled.

    The limit's signal is sent by scancel to the batch process alone, as Slurm does. Slurm lets a job that was queued
    again wait for two minutes; that is cut short.
    """
    place = tmp_path_factory.mktemp("slurm")
    sweep = place / "sweep"
    process = begun(here, place, "trainer.max_epochs=2,3,20,21,22", "hydra.sweep.dir=sweep")
    try:
        left = {2, 3, 4}
        while left:
            for job in [job for job in left if in_training(sweep / str(job))]:
                left.remove(job)
                if job == 2:
                    os.kill(in_training(sweep / "2")["pid"], signal.SIGKILL)
                elif job == 3:
                    slurm(here, "scancel", "--batch", "--signal=USR2", identity(sweep / "3"))
                else:
                    slurm(here, "scancel", identity(sweep / "4"))
            assert process.poll() is None
            time.sleep(0.05)
        again = identity(sweep / "3")
        until(lambda: "PENDING" in slurm(here, "squeue", "-h", "-o", "%T", "-j", again), process)
        slurm(here, "scontrol", "update", f"JobId={again}", "StartTime=now")
        process.wait(timeout=200)
    finally:
        process.kill()
    return process.returncode, (place / "out").read_text(), (place / "err").read_text(), sweep


def test_killed_and_cancelled_jobs_leave_the_others_alone(disturbed):
    status, _, errors, sweep = disturbed
    assert status == 1, errors
    assert sorted(summaries(sweep)) == [0, 1, 3]
    assert re.search(r"error: job 2: its process died \(killed, or out of memory\); see sweep/\.submitit/", errors)
    assert "error: job 4: Slurm ended it: CANCELLED" in errors
    assert f"2 failed of 5 jobs; run these again with: python {ROOT / 'train.py'} -m sweep.resume=sweep" in errors
    assert "Traceback" not in errors
    assert [said(sweep / job / "failure.json")["kind"] for job in "24"] == ["died", "died"]


def test_a_job_at_its_time_limit_goes_on_from_its_checkpoint(disturbed):
    sweep = disturbed[-1]
    seen, log = epochs(sweep, 3)
    assert seen == list(range(1, 22))
    assert "job 3: at its time limit, put in the queue again" in log
    assert summaries(sweep)[3]["resumed"]
    scripts = [path.read_text() for path in (sweep / ".submitit").glob("*_submission.sh")]
    assert len(scripts) == 2  # this Slurm takes three jobs in an array
    assert all("#SBATCH --signal=B:USR2@120" in script for script in scripts)


def test_concurrent_jobs_see_different_devices(disturbed):
    sweep = disturbed[-1]
    when = {}
    for number, report in summaries(sweep).items():
        end = (sweep / str(number) / "summary.json").stat().st_mtime
        when[number] = (end - report["wall_s"], end, report["hardware"]["visible_devices"])
    together = [(a, b) for a, b in combinations(when.values(), 2) if a[0] < b[1] and b[0] < a[1]]
    assert together
    assert all(a[2] != b[2] for a, b in together)
    assert {device for _, _, device in when.values()} <= set("0123")


def test_the_teacher_is_trained_once_and_progress_shown(disturbed):
    _, output, _, sweep = disturbed
    assert len(list((sweep.parent / "outputs/teachers").glob("*/teacher.safetensors"))) == 1
    lines = [line for line in output.splitlines() if " of 5 done" in line]
    assert len(lines) == 5
    assert "; 3 of 5 done, 2 failed, best " in lines[-1]


def test_resume_runs_what_failed_from_its_checkpoints(here, disturbed):
    sweep = disturbed[-1]
    before = (sweep / "0/summary.json").read_text()
    done = command("sweep.resume=sweep", cwd=sweep.parent, **here)
    assert done.returncode == 0, done.stderr
    assert "Slurm: 2 jobs to submit, 0 in its queue already, 3 finished" in done.stdout
    assert sorted(summaries(sweep)) == [0, 1, 2, 3, 4]
    assert (sweep / "0/summary.json").read_text() == before
    for job, last in ((2, 20), (4, 22)):
        seen, _ = epochs(sweep, job)
        assert seen == list(range(seen[0], last + 1))
        assert seen[0] > 2


def test_jobs_outlive_the_launcher_and_are_not_begun_twice(here, tmp_path):
    """Two at a time, so that the third is still in the queue when the launcher is killed."""
    sweep = tmp_path / "left"
    process = begun(
        here, tmp_path, "seed=0,1,2", "trainer.max_epochs=8", "hydra.launcher.jobs_at_once=2", "hydra.sweep.dir=left"
    )
    try:
        until(lambda: in_training(sweep / "0"), process)
    finally:
        process.kill()
        process.wait()
    identities = [identity(sweep / job) for job in "012"]
    done = command("sweep.resume=left", cwd=tmp_path, **here)
    assert done.returncode == 0, done.stderr
    known = re.search(r"Slurm: 0 jobs to submit, (\d) in its queue already, (\d) finished", done.stdout)
    assert known, done.stdout
    assert int(known[1]) >= 1
    assert sorted(summaries(sweep)) == [0, 1, 2]
    assert [identity(sweep / job) for job in "012"] == identities
    assert not any(report["resumed"] for report in summaries(sweep).values())


@pytest.mark.parametrize(
    ("knob", "message"),
    [
        ("partition=nope", "Slurm does not take the jobs: invalid partition specified: nope; "),
        ("gpus_per_job=9", "Slurm does not take the jobs: Batch job submission failed: Requested node configuration"),
        ("memory_gb=9000", "Slurm does not take the jobs: Memory specification can not be satisfied"),
        ("+gpu_per_job=1", "gpu_per_job"),
    ],
)
def test_what_slurm_refuses_is_one_line(here, knob, message, tmp_path):
    knob = f"+hydra.launcher.{knob[1:]}" if knob[0] == "+" else f"hydra.launcher.{knob}"
    done = command(*JOB, knob, "hydra.sweep.dir=wrong", cwd=tmp_path, **here)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert message in done.stderr
