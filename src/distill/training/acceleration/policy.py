"""How a model is trained: precision, memory format, compiled or not; said in one line."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from distill.config.schema import TrainConfig
from distill.data import DataModule
from distill.training.acceleration import compilation
from distill.training.trainer import uses_cuda
from distill.utils import precision
from distill.utils.profiling import size


class FastPath(NamedTuple):
    """What was chosen for one model, and the line that says so."""

    precision: Any
    compiled: bool
    line: str


def choose(
    cfg: TrainConfig,
    model: nn.Module,
    who: str,
    data: DataModule,
    batch_size: int,
    epochs: int,
    teacher: nn.Module | None = None,
    eager: bool = False,
) -> FastPath:
    """What the configuration asks for, or where that is "auto", what is faster for this model on this machine.

    Args:
        cfg: the configuration.
        model: what is trained.
        who: its role and name, for the line.
        data: what it is trained on.
        batch_size: samples per step.
        epochs: of the training.
        teacher: that answers beside it.
        eager: whether it is of a kind that is not compiled.
    """
    accelerator, asked = cfg.trainer.accelerator, cfg.trainer.precision
    unknown = asked == "auto" or cfg.compile == "auto"
    macs = 3 * size(model, data.example(1)).macs if unknown else 0  # forward, and twice as much backward
    kind, why = precision.resolve(asked, accelerator, model, macs * batch_size)
    more = size(teacher, data.example(1)).macs if unknown and teacher is not None else 0
    whole = (macs + more) * data.num_train * epochs * _share(cfg.trainer.limit_train_batches, data, batch_size)
    compiled, how = compilation.choose(False if eager else cfg.compile, uses_cuda(accelerator), whole)
    layout = ", channels_last" if cfg.channels_last else ""
    own = answering(cfg, data, batch_size)(teacher) if teacher is not None else kind
    own = f"; its teacher answers in {own}" if own != kind else ""
    return FastPath(kind, compiled, f"{who}: {kind} ({why}){layout}, {how}{own}")


def answering(cfg: TrainConfig, data: DataModule, batch_size: int) -> Callable[[nn.Module], Any]:
    """What gives the precision in which a frozen model answers: where that is "auto", its own."""
    accelerator, asked = cfg.trainer.accelerator, cfg.trainer.precision

    def kind(model: nn.Module) -> Any:
        macs = size(model, data.example(1)).macs if asked == "auto" else 0
        return precision.resolve(asked, accelerator, model, macs * batch_size)[0]

    return kind


def _share(limit: int | float | None, data: DataModule, batch_size: int) -> float:
    """The part of an epoch that ``limit_train_batches`` leaves."""
    if limit is None:
        return 1.0
    return min(1.0, limit * batch_size / data.num_train if isinstance(limit, int) else limit)
