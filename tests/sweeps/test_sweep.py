"""Multiruns from the command line: failures stay with their job, and nothing finished is lost."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from safetensors.torch import load_file

from jobs import ROOT, TINY, command
from summaries import kept

pytestmark = pytest.mark.slow
JOB = (*TINY, "logger=none")


def summaries(sweep):
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(sweep.glob("*/summary.json"))}


def results(sweep):
    """What a table of the sweep would show, and the weights behind it."""
    return {
        name: (kept(report["student"])["val"], kept(report["student"])["test"], report["student"]["best"])
        for name, report in summaries(sweep).items()
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("sweeps")


@pytest.fixture(scope="module")
def undisturbed(place):
    done = command("-m", *JOB, "kd.T=1,4", "seed=0,1", "trainer.max_epochs=6", "hydra.sweep.dir=whole", cwd=place)
    assert done.returncode == 0, done.stderr
    return done, place / "whole"


def test_progress_is_shown_after_each_job(undisturbed):
    done, _ = undisturbed
    lines = [line for line in done.stdout.splitlines() if line.startswith("job ")]
    settings = ("kd.T=1 seed=0", "kd.T=1 seed=1", "kd.T=4 seed=0", "kd.T=4 seed=1")
    for number, (line, setting) in enumerate(zip(lines, settings, strict=True)):
        assert re.match(rf"job {number} \({setting}\): \d+\.\d\d %; {number + 1} of 4 done, best ", line), line
    assert "\nepoch " not in done.stdout
    assert " left" in lines[0]
    assert " left" not in lines[-1]


def test_a_value_that_follows_a_key_which_is_not_there_is_the_failure_of_its_jobs(place):
    alphas = ("kd.T=2", "kd.alpha=${x}0,0.5", "trainer.max_epochs=1", "hydra.sweep.dir=follows")
    done = command("-m", *JOB, *alphas, cwd=place)
    assert done.returncode == 1
    assert "Warning" not in done.stderr
    assert "1 failed of 2 jobs" in done.stderr
    failure = json.loads((place / "follows" / "0" / "failure.json").read_text())
    assert failure["reason"] == "kd.alpha follows x, which there is not: give kd.alpha a value"
    assert [*summaries(place / "follows")] == ["1"]


def test_the_teacher_is_trained_once(undisturbed):
    _, sweep = undisturbed
    assert [report["teacher"]["origin"] for report in summaries(sweep).values()] == ["trained", *["found"] * 3]


def test_points_share_what_their_seed_decides(undisturbed):
    """The first epoch of two points of one seed sees the same batches and begins with the same student."""
    done = command("-m", *JOB, "kd.T=1,1", "seed=0", "hydra.sweep.dir=twice", cwd=undisturbed[1].parent)
    assert done.returncode == 0, done.stderr
    first, second = (load_file(undisturbed[1].parent / f"twice/{n}/student.safetensors") for n in (0, 1))
    assert all((first[name] == second[name]).all() for name in first)


def test_a_launcher_killed_in_mid_job_and_resumed_gives_the_same_table(undisturbed):
    _, whole = undisturbed
    sweep = whole.parent / "killed"
    arguments = ("-m", *JOB, "kd.T=1,4", "seed=0,1", "trainer.max_epochs=6", "hydra.sweep.dir=killed")
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *arguments], cwd=sweep.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 200
    while not (sweep / "1/checkpoints/last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (sweep / "0/summary.json").exists()
    assert not (sweep / "3").exists()
    before = (sweep / "0/summary.json").read_text()
    again = command("-m", "sweep.resume=killed", cwd=sweep.parent)
    assert again.returncode == 0, again.stderr
    assert results(sweep) == results(whole)
    assert (sweep / "0/summary.json").read_text() == before
    for name in ("1", "3"):
        mine, theirs = (load_file(folder / name / "student.safetensors") for folder in (sweep, whole))
        assert all((mine[key] == theirs[key]).all() for key in theirs)


def test_a_job_that_fails_leaves_the_others_alone(place):
    done = command("-m", *JOB, "kd.alpha=0.5,2,0.1", "hydra.sweep.dir=failing", cwd=place)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "error: job 1: kd.alpha must be in [0, 1] (it weighs the hard loss), got 2.0" in done.stderr
    assert (
        f"1 failed of 3 jobs; run these again with: python {ROOT / 'train.py'} -m sweep.resume=failing" in done.stderr
    )
    assert sorted(summaries(place / "failing")) == ["0", "2"]
    assert json.loads((place / "failing/1/failure.json").read_text())["reason"].startswith("kd.alpha must be")
    before = [(place / f"failing/{job}/summary.json").read_text() for job in "02"]
    again = command("-m", "kd.alpha=0.5,0.9,0.1", "sweep.resume=failing", cwd=place)
    assert again.returncode == 0, again.stderr
    assert before == [(place / f"failing/{job}/summary.json").read_text() for job in "02"]  # with their times
    assert sorted(summaries(place / "failing")) == ["0", "1", "2"]
    assert not (place / "failing/1/failure.json").exists()


def test_a_failure_of_the_code_is_a_line_too_and_keeps_its_traceback(place, tmp_path):
    (tmp_path / "broken.py").write_text(
        "import torch\n"
        "def loss(student_logits, target):\n"
        "    if len(student_logits) == 64:\n"
        "        raise torch.OutOfMemoryError('CUDA out of memory.')\n"
        "    return student_logits.mean()\n"
    )
    (tmp_path / "conf/kd").mkdir(parents=True)
    (tmp_path / "conf/kd/broken.yaml").write_text(
        "alpha: null\nterms:\n  broken:\n    loss: {_target_: broken.loss, _partial_: true}\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    own = f"--config-dir={tmp_path / 'conf'}"
    done = command("-m", *JOB, "kd=none,broken", own, "hydra.sweep.dir=code", cwd=place, PYTHONPATH=path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "error: job 1: OutOfMemoryError: CUDA out of memory." in done.stderr
    assert sorted(summaries(place / "code")) == ["0"]
    assert "broken.py" in json.loads((place / "code/1/failure.json").read_text())["traceback"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("sweep.resume=nowhere", "sweep.resume: nowhere does not exist"),
        ("sweep.resume=.", "sweep.resume: . is no sweep's folder (no sweep.yaml)"),
        ("sweep.resume=whole/0", "sweep.resume: whole/0 is the folder of a single run, which resume= takes"),
    ],
)
def test_mistakes_of_resume(undisturbed, given, message):
    done = command("-m", given, cwd=undisturbed[1].parent)
    assert done.returncode == 1
    assert done.stderr.strip() == f"error: {message}"


def test_ctrl_c_says_how_to_go_on(place):
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), "-m", *JOB, "kd.T=1,4", "trainer.max_epochs=500",
         "hydra.sweep.dir=stopped"], cwd=place, env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 200
    while not (place / "stopped/0/checkpoints/last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"continue with: python {ROOT / 'train.py'} -m sweep.resume=stopped" in err
    assert "Traceback" not in err
    assert not (place / "stopped/1").exists()
