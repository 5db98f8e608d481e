"""Each task in one process and in two, and killed in mid-epoch: the numbers and the weights are those of one run."""

import json
import signal

import pytest
import torch
from safetensors.torch import load_file, save_file

from jobs import command, curve

SOURCE = '''
import itertools
import os
import signal
import torch
from sklearn.datasets import load_digits
from torch import nn
from distill.data import Splits, TensorImages

def mlp(num_classes, in_channels, image_size, width=32, **_):
    """No BatchNorm: each process would normalise by its own part of the batch."""
    pixels, calls = in_channels * image_size**2, itertools.count()
    model = nn.Sequential(nn.Flatten(), nn.Linear(pixels, width), nn.ReLU(), nn.Linear(width, num_classes))

    def kill(model, *_):
        if model.training and next(calls) == int(os.environ["KILL_AT"]):
            os.kill(os.getpid(), signal.SIGKILL)

    if "KILL_AT" in os.environ and width == 32:
        model.register_forward_hook(kill)
    return model

def splits(labels):
    """Validation and test have an odd number of samples."""
    pixels = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 16
    parts = {"train": slice(0, 200), "val": slice(200, 277), "test": slice(277, 408)}
    return Splits(**{name: TensorImages(pixels[part], labels[part]) for name, part in parts.items()})

def numbers():
    digit = torch.tensor(load_digits().target, dtype=torch.float32)
    return splits(torch.stack([10 * digit + 5, digit.sqrt() - 40], 1))

def labels():
    digit = torch.tensor(load_digits().target)
    return splits(torch.stack([digit % 2 == 0, digit > 4, digit == 3], 1).float())
'''
JOB = (
    "model._target_=own.mlp", "teacher._target_=own.mlp", "+teacher.width=48", "data.augment.flip=false",
    "data.batch_size=20", "trainer.max_epochs=4", "trainer.accelerator=cpu", "threads=1", "logger=csv", "code=.",
)  # fmt: skip
TEACHER = ("teacher.recipe.max_epochs=2", "teacher.recipe.batch_size=20", "teachers_dir=teachers-of-{task}")
TASKS = {
    "multilabel": ("data.source._target_=own.labels", *TEACHER),
    "regression": ("data.source._target_=own.numbers", *TEACHER),
    "embedding": (
        "data.source._target_=own.numbers",
        "teacher.checkpoint=teacher.safetensors",
        "kd.terms.embedding.loss.standardize=false",
    ),  # over each process's part of a batch
}
METRICS = {
    "multilabel": {"map", "f1", "agreement"},
    "regression": {"rmse", "mae", "r2", "pearson", "spearman", "teacher_rmse"},
    "embedding": {"spearman", "knn_overlap"},
}
TWO = {"ddp": ("trainer=ddp", "trainer.devices=2"), "fsdp": ("trainer=fsdp", "trainer.devices=2")}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("tasks")
    (place / "own.py").write_text(SOURCE)
    torch.manual_seed(0)
    layers = {"1.weight": (48, 64), "1.bias": (48,), "3.weight": (7, 48), "3.bias": (7,)}
    save_file({name: torch.randn(shape) / 8 for name, shape in layers.items()}, place / "teacher.safetensors")
    return place


def arguments(task, name):
    return (f"task={task}", *(word.format(task=task) for word in TASKS[task]), *JOB, f"hydra.run.dir={name}")


@pytest.fixture(scope="module", params=TASKS)
def whole(request, place):
    """A run of each task in one process."""
    task = request.param
    done = command(*arguments(task, task), cwd=place)
    assert done.returncode == 0, done.stderr
    return task, place / task


def weights(run):
    """Of the last epoch, whichever was the best."""
    return load_file(run / json.loads((run / "summary.json").read_text())["student"]["last"]["weights"])


@pytest.mark.parametrize("strategy", TWO)
def test_two_processes_learn_and_measure_what_one_does(whole, place, strategy):
    task, one = whole
    two = place / f"{task}-{strategy}"
    done = command(*arguments(task, two.name), *TWO[strategy], cwd=place)
    assert done.returncode == 0, done.stderr
    alone, both = curve(one), curve(two)
    assert alone.keys() == both.keys() >= {f"val/{name}" for name in METRICS[task]}
    for key, values in alone.items():
        assert both[key] == pytest.approx(values, rel=1e-3, abs=3e-3), key  # of ranks and neighbours some change places
    reports = [json.loads((run / "summary.json").read_text()) for run in (one, two)]
    for split in ("val", "test"):
        expected, actual = (report["student"]["last"][split] for report in reports)
        assert METRICS[task] <= expected.keys()
        assert actual == pytest.approx(expected, rel=1e-3, abs=3e-3)
    assert all(torch.allclose(value, weights(two)[name], atol=1e-3) for name, value in weights(one).items())


def test_killed_in_mid_epoch_and_continued_it_ends_with_the_same_bits(whole, place):
    task, one = whole
    killed = command(*arguments(task, f"{task}-killed"), cwd=place, KILL_AT="26")
    assert killed.returncode == -signal.SIGKILL
    assert not (place / f"{task}-killed/summary.json").exists()
    done = command(f"resume={task}-killed", "trust=own", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "epoch 4/4" in done.stdout
    assert "epoch 1/4" not in done.stdout
    assert all(torch.equal(value, weights(place / f"{task}-killed")[name]) for name, value in weights(one).items())
    reports = [json.loads((run / "summary.json").read_text())["student"] for run in (one, place / f"{task}-killed")]
    assert reports[0]["last"] == reports[1]["last"]
    assert reports[0]["best"] == reports[1]["best"]
