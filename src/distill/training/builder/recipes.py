"""Optimizer and learning-rate schedule from the configuration."""

import torch

from distill.config.instantiate import instantiate
from distill.config.schema import RecipeConfig, TrainConfig
from distill.training.optimization import OptimizerFactory
from distill.training.schedulers import SchedulerFactory, lightning_scheduler
from distill.utils.errors import UserError


def build_optimization(
    config: TrainConfig | RecipeConfig, prefix: str = ""
) -> tuple[OptimizerFactory, SchedulerFactory | None]:
    """Factories of optimizer and scheduler, tried on one parameter so that bad values show before training.

    Args:
        config: what has ``optimizer`` and ``scheduler``.
        prefix: of their dotted keys, for error messages.

    Raises:
        UserError: arguments or values that they do not take.
    """
    optimizer = instantiate(config.optimizer, f"{prefix}optimizer")
    scheduler = instantiate(config.scheduler, f"{prefix}scheduler") if config.scheduler else None
    for name in ("optimizer", "scheduler"):
        try:
            trial = optimizer([torch.nn.Parameter(torch.zeros(1))])
            if name == "scheduler" and scheduler is not None:
                lightning_scheduler(scheduler, trial, total_steps=1000)
        except (TypeError, ValueError) as error:
            raise UserError(f"{prefix}{name}: {error}") from error
    return optimizer, scheduler
