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
        origins[i] = obtain(nets[i], source, train)["origin"]

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
    assert obtain(net(), source, lambda folder: None)["origin"] == "trained"


def begun(place: Path) -> subprocess.Popen:
    with (place.parent / f"{place.name}.out").open("w") as out:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), *JOB, f"hydra.run.dir={place.name}"],
            cwd=place.parent, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip


def wait_until(true, what, seconds=200):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_holder_killed_in_its_training_is_followed_by_the_one_that_waits(tmp_path):
    """Two jobs want the same teacher: the second trains nothing while the first lives, and goes on where it died."""
    whole = command(*JOB, "hydra.run.dir=whole", "teachers_dir=others", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    teachers = tmp_path / "outputs/teachers"
    processes = [begun(tmp_path / "first")]
    try:
        wait_until(lambda: list(teachers.glob("*/checkpoints/last.ckpt")), "checkpoint")
        processes[0].send_signal(signal.SIGSTOP)
        processes.append(begun(tmp_path / "second"))
        said = tmp_path / "second.out"
        wait_until(lambda: "eager" in said.read_text(), "second job")
        time.sleep(2)
        assert "epoch" not in said.read_text()
        processes[0].kill()
        assert processes[1].wait(timeout=200) == 0, said.read_text()
    finally:
        for process in processes:
            process.kill()
            process.wait()
    lines = [line for line in said.read_text().splitlines() if "  epoch " in line]
    assert "epoch 1/6" not in lines[0]
    assert "epoch 6/6" in lines[-1]
    assert "trained and kept in" in said.read_text()
    (mine,), (theirs,) = (list(folder.glob("*/teacher.safetensors")) for folder in (teachers, tmp_path / "others"))
    found, expected = load_file(mine), load_file(theirs)
    assert all(torch.equal(found[key], value) for key, value in expected.items())
