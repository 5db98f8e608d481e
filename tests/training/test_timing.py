"""Steps that are timed before a training change nothing; what follows from them: threads, the plan's time."""

import copy
import re
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from distill.models import resnet8
from distill.training import estimate, threads
from distill.training.timing import Step
from distill.utils.processes import busy_cores
from jobs import command


def stage(batch_size=16, teachers=(), epochs=2):
    """What a training is timed by, without a run."""
    torch.manual_seed(0)
    model = nn.Sequential(resnet8(10, in_channels=1), nn.Dropout(0.5))
    sgd = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    data = SimpleNamespace(batch_size=batch_size, example=lambda n: torch.zeros(n, 1, 8, 8), of_teacher=lambda: data)
    return SimpleNamespace(
        student=SimpleNamespace(model=model), peers=(), max_epochs=epochs, precision="32-true",
        teachers=[SimpleNamespace(model=net) for net in teachers], teacher_precision=lambda _: "32-true",
        criterion=SimpleNamespace(needs_teacher=bool(teachers)), optimizer=sgd,
        data=data,
    )  # fmt: skip


def test_nothing_is_changed_by_a_timed_step():
    timed = stage(teachers=[resnet8(10, in_channels=1).train()])
    models = [timed.student.model.eval(), timed.teachers[0].model]
    before = [copy.deepcopy(model.state_dict()) for model in models]
    drawn = torch.get_rng_state()
    step = Step(timed, 1e9)
    assert step.samples == 16
    assert step.seconds() > 0
    assert step.update_seconds() > 0
    assert torch.equal(torch.get_rng_state(), drawn)
    for model, state in zip(models, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert not any(module.training for module in models[0].modules())
    assert all(module.training for module in models[1].modules())


def test_a_large_batch_is_timed_in_part():
    assert Step(stage(batch_size=512), 1e7).samples < 512
    assert Step(stage(batch_size=512), 1).samples == 2  # one has no variance, which BatchNorm needs


def test_the_estimate_counts_every_step(monkeypatch):
    monkeypatch.setattr(Step, "seconds", lambda self: 0.5)
    monkeypatch.setattr(Step, "update_seconds", lambda self: 0.25)
    assert estimate.seconds(stage(epochs=3), 4) == pytest.approx(3 * 4 * 0.75)


def experiment(batch_size, accelerator="cpu"):
    each = stage(batch_size)
    return SimpleNamespace(
        teachers=(), stages=(each,), data=each.data,
        settings=SimpleNamespace(trainer=SimpleNamespace(accelerator=accelerator)),
    )  # fmt: skip


@pytest.mark.parametrize(("several", "chosen"), [(0.5, 4), (0.95, 1), (1.0, 1), (3.0, 1)])
def test_several_threads_are_taken_where_they_are_faster(monkeypatch, several, chosen):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setattr(threads, "usable_cores", lambda: 4)
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(threads, "busy_cores", lambda: 0)
    monkeypatch.setattr(threads, "compare", lambda step, count: (1.0, several))
    assert threads.choose(experiment(4096))[0] == chosen
    assert threads.choose(experiment(16))[0] == 1  # not measured
    monkeypatch.setattr(threads, "busy_cores", lambda: 1)
    assert threads.choose(experiment(4096))[0] == 1


def test_threads_are_as_before_a_comparison():
    before = torch.get_num_threads()
    assert min(threads.compare(Step(stage(), 1e8), 2, seconds=0.01)) > 0
    assert torch.get_num_threads() == before


def test_a_busy_process_is_seen():
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        assert busy_cores() >= 1
    finally:
        busy.kill()
        busy.wait()


@pytest.mark.slow
@pytest.mark.parametrize("pair", [("resnet18", "resnet34", 1), ("resnet20", "resnet56", 3)], ids=lambda pair: pair[0])
def test_the_time_that_the_plan_says(pair, tmp_path):
    student, teacher, epochs = pair
    done = command(
        f"model={student}", f"teacher={teacher}", f"trainer.max_epochs={epochs}", "logger=none",
        f"teacher.recipe.max_epochs={epochs}", "threads=1", "trainer.accelerator=cpu", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    number, unit = re.search(r"^plan: about (\d+) (s|min) on this machine$", done.stdout, re.MULTILINE).groups()
    said = int(number) * {"s": 1, "min": 60}[unit]
    took = sum(map(float, re.findall(r"^epoch \d+/\d+ .* ([\d.]+) s$", done.stdout, re.MULTILINE)))
    assert took / 2.5 < said < took * 2.5
