"""One process trains a teacher, the others wait; the lock does not outlive its holder."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from distill.distillation.model_info import NamedModel
from distill.distillation.teacher_store import TeacherSource, obtain
from distill.utils.errors import UserError
from jobs import ROOT, command

JOB = ("only=teacher", "threads=1", "logger=none", "data.subset=600", "teacher=resnet14", "teacher.recipe.max_epochs=6")


def net():
    return NamedModel("linear", torch.nn.Linear(2, 2), SimpleNamespace(name="the teacher linear"))


@pytest.fixture
def source(tmp_path):
    return TeacherSource(None, tmp_path, "linear-data", {"seed": 0}, max_epochs=1)


def test_jobs_that_start_together_train_one_teacher(source):
    together = threading.Barrier(4)
    trained, origins, nets = [], {}, [net() for _ in range(4)]

    def job(i):
        def train(folder):
            trained.append(i)
            time.sleep(0.2)

        together.wait()
        origins[i] = obtain(nets[i], source, train).origin

    threads = [threading.Thread(target=job, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (first,) = trained
    assert origins == {i: "trained" if i == first else "found" for i in range(4)}
    assert all(torch.equal(one.model.weight, nets[first].model.weight) for one in nets)


def test_a_training_that_fails_leaves_the_lock_to_the_next(source):
    def fails(folder):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        obtain(net(), source, fails)
    assert obtain(net(), source, lambda folder: None).origin == "trained"


def start_job(folder: Path) -> subprocess.Popen:
    with (folder.parent / f"{folder.name}.out").open("w") as out:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), *JOB, f"hydra.run.dir={folder.name}"],
            cwd=folder.parent, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip


def wait_until(condition, name, seconds=200):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {name}"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_holder_killed_in_its_training_is_followed_by_the_one_that_waits(tmp_path):
    """Two jobs want the same teacher: the second trains nothing while the first lives, and goes on where it died."""
    whole = command(*JOB, "hydra.run.dir=whole", "teachers_dir=others", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    teachers = tmp_path / "outputs/teachers"
    processes = [start_job(tmp_path / "first")]
    try:
        wait_until(lambda: list(teachers.glob("*/checkpoints/last.ckpt")), "checkpoint")
        processes[0].send_signal(signal.SIGSTOP)
        processes.append(start_job(tmp_path / "second"))
        log = tmp_path / "second.out"
        wait_until(lambda: "waiting for another process, which trains" in log.read_text(), "second job")
        time.sleep(2)
        assert "\nepoch " not in log.read_text()
        processes[0].kill()
        assert processes[1].wait(timeout=800) == 0, log.read_text()
    finally:
        for process in processes:
            process.kill()
            process.wait()
    lines = [line for line in log.read_text().splitlines() if line.startswith("epoch ")]
    assert "epoch 1/6" not in lines[0]
    assert "epoch 6/6" in lines[-1]
    assert "continuing the teacher resnet14, which an interrupted run left half-trained in" in log.read_text()
    assert "trained and kept in" in log.read_text()
    (mine,), (theirs,) = (list(folder.glob("*/teacher.safetensors")) for folder in (teachers, tmp_path / "others"))
    weights, expected = load_file(mine), load_file(theirs)
    assert all(torch.equal(weights[key], value) for key, value in expected.items())


@pytest.mark.parametrize("name", ["teacher.json", "teacher.safetensors"])
@pytest.mark.parametrize("change", [lambda c: b"", lambda c: c[: len(c) // 2], lambda c: c[:90] + b"#" + c[91:]])
def test_a_damaged_store_is_one_line_that_says_what_to_do(source, name, change):
    obtain(net(), source, lambda folder: None)
    path = source.folder / name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=r"is not the file that was written; delete .* to train it again$"):
        obtain(net(), source, lambda folder: None)
