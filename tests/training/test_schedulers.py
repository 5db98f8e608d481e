from functools import partial

import pytest
import torch
from torch.optim.lr_scheduler import ExponentialLR, OneCycleLR

from distill.training.schedulers import cosine, lightning_scheduler, multistep
from distill.utils.errors import UserError


@pytest.fixture
def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


def rates(optimizer, scheduler, steps):
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_multistep_at_fractions_of_the_run(optimizer):
    seen = rates(optimizer, multistep(optimizer, 240), 240)
    expected = [1.0] * 150 + [0.1] * 30 + [0.01] * 30 + [0.001] * 30
    assert seen == pytest.approx(expected)


def test_cosine_with_warm_up(optimizer):
    seen = rates(optimizer, cosine(optimizer, 100, warmup=0.1), 100)
    assert seen[:10] == pytest.approx([(i + 1) / 11 for i in range(10)], rel=1e-6)
    assert seen[10] == pytest.approx(1.0)
    assert seen[55] == pytest.approx(0.5)
    assert seen[-1] < 0.001
    assert seen[10:] == sorted(seen[10:], reverse=True)


def test_lightning_scheduler_tells_the_length_to_those_that_ask(optimizer):
    step = lightning_scheduler(lambda o, total_steps: OneCycleLR(o, 1.0, total_steps=total_steps), optimizer, 50)
    assert (step["interval"], step["scheduler"].total_steps) == ("step", 50)
    assert lightning_scheduler(lambda o: ExponentialLR(o, 0.9), optimizer, 50)["interval"] == "epoch"


def test_bad_fractions(optimizer):
    with pytest.raises(UserError, match=r"milestones are fractions of the run in \(0, 1\), got \[150\]"):
        multistep(optimizer, 10, [150])
    with pytest.raises(UserError, match=r"warmup is a fraction of the run in \[0, 1\), got 5"):
        cosine(optimizer, 10, warmup=5)


@pytest.mark.parametrize("steps", range(1, 12))
def test_one_cycle_fits_runs_of_any_length(steps):
    """torch's divides by zero where pct_start · total_steps is 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    made = lightning_scheduler(partial(OneCycleLR, max_lr=0.1, pct_start=0.2), optimizer, steps)["scheduler"]
    for _ in range(steps - 1):
        optimizer.step()
        made.step()
    assert 0 < made.get_last_lr()[0] <= 0.1
