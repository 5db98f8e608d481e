"""Optimizer and learning-rate scheduler for ``configure_optimizers``."""

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

import lightning.pytorch as L
import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from distill.training.schedulers import SchedulerFactory, lightning_scheduler

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]


def optimizers(
    optimizer: OptimizerFactory, scheduler: SchedulerFactory | None, module: L.LightningModule, steps: Callable[[], int]
) -> Any:
    """The result of ``configure_optimizers`` for all trainable parameters of a module; ``steps``: of the training."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    implementation = fused(optimizer, parameters)
    if implementation and getattr(module.trainer.precision_plugin, "scaler", None) is not None:
        implementation = {}
    built = optimizer(parameters, **implementation)
    # torch marks fused optimizers as ones that undo loss scaling within their step, and Lightning then refuses to clip
    # gradients, with and without loss scaling.
    built._step_supports_amp_scaling = False  # type: ignore[attr-defined]
    if scheduler is None:
        return built
    entry = lightning_scheduler(scheduler, built, steps())
    if isinstance(entry["scheduler"], ReduceLROnPlateau):  # its metric is there after validation only
        entry["frequency"] = module.trainer.check_val_every_n_epoch
    return {"optimizer": built, "lr_scheduler": entry}


def fused(optimizer: Any, parameters: list[nn.Parameter]) -> dict[str, bool]:
    """``fused=True`` on CUDA, if the optimizer supports it, and on a CPU of Adam and AdamW; never where configured.

    On a CPU a fused AdamW is several times as fast, which tells where a small text model has a large vocabulary: each
    step updates all of its embeddings. SGD's step is short either way.

    Not for loss scaling (torch's SGD leaves its momentum unset if the first step overflows), nor with sharded
    parameters (which not all optimizers support).
    """
    factory, keywords = getattr(optimizer, "func", optimizer), getattr(optimizer, "keywords", {})
    device = parameters[0].device.type
    pays = device == "cuda" or (device == "cpu" and factory in (torch.optim.Adam, torch.optim.AdamW))
    if not pays or any(isinstance(p, DTensor) for p in parameters):
        return {}
    supported = "fused" in inspect.signature(factory).parameters
    return {"fused": True} if supported and not {"fused", "foreach", "differentiable"} & keywords.keys() else {}


def total_steps(trainer: Any) -> int:
    """Optimizer steps of the whole training.

    ``trainer.estimated_stepping_batches`` would set up the loaders before Lightning restores their state: a run resumed
    in mid-epoch would see its first batches twice.
    """
    batches: int = len(trainer.datamodule.train_dataloader())
    limit: int | float = trainer.limit_train_batches
    batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    return int(max(1, math.ceil(batches / trainer.accumulate_grad_batches) * trainer.max_epochs))
