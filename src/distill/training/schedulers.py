"""Learning-rate schedules that fit any length of run, beside torch's own."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, MultiStepLR, SequentialLR

from distill.utils.errors import UserError

SchedulerFactory = Callable[..., LRScheduler]


def multistep(
    optimizer: Optimizer, total_steps: int, milestones: Sequence[float] = (0.625, 0.75, 0.875), gamma: float = 0.1
) -> LRScheduler:
    """The field's step schedule: lr × gamma after each milestone, a fraction of the run (150, 180, 210 of 240).

    Raises:
        UserError: a milestone outside (0, 1).
    """
    if not all(0 < m < 1 for m in milestones):
        raise UserError(f"scheduler.milestones are fractions of the run in (0, 1), got {list(milestones)}")
    return MultiStepLR(optimizer, [round(m * total_steps) for m in milestones], gamma)


def cosine(optimizer: Optimizer, total_steps: int, warmup: float = 0.0) -> LRScheduler:
    """Linear warm-up over a fraction of the run, then half a cosine to 0.

    Raises:
        UserError: ``warmup`` outside [0, 1).
    """
    if not 0 <= warmup < 1:
        raise UserError(f"scheduler.warmup is a fraction of the run in [0, 1), got {warmup}")
    steps = round(warmup * total_steps)
    decay = CosineAnnealingLR(optimizer, max(1, total_steps - steps))
    if not steps:
        return decay
    return SequentialLR(optimizer, [LinearLR(optimizer, 1 / (steps + 1), total_iters=steps), decay], [steps])


def lightning_scheduler(factory: SchedulerFactory, optimizer: Optimizer, total_steps: int) -> dict[str, Any]:
    """The scheduler configuration of ``configure_optimizers``.

    A factory that takes ``total_steps`` (those above, OneCycleLR) gets the length of the run and steps every batch; any
    other steps every epoch. ReduceLROnPlateau monitors the validation loss.
    """
    if "total_steps" in inspect.signature(factory).parameters:
        try:
            scheduler = factory(optimizer, total_steps=total_steps)
        except ZeroDivisionError:  # OneCycleLR, where its warm-up is exactly one step
            scheduler = factory(optimizer, total_steps=total_steps + 1)
        return {"scheduler": scheduler, "interval": "step"}
    return {"scheduler": factory(optimizer), "interval": "epoch", "monitor": "val/loss"}
