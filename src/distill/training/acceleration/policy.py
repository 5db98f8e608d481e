"""The choice of ``trainer.precision`` and ``compile`` for one model, and the line to log."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from distill.config.schema import TrainConfig
from distill.data import DataModule
from distill.distillation.model_info import NamedModel
from distill.training.acceleration import compilation
from distill.utils import precision
from distill.utils.precision import uses_cuda
from distill.utils.profiling import size


class ExecutionPolicy(NamedTuple):
    """Precision of a model's training, whether it is compiled, and the line to log."""

    precision: Any
    compiled: bool
    line: str


def choose(
    cfg: TrainConfig,
    net: NamedModel,
    who: str,
    data: DataModule[Any],
    batch_size: int,
    epochs: int,
    teacher: nn.Module | None = None,
    eager: bool = False,
) -> ExecutionPolicy:
    """Precision and compilation as configured, or where that is "auto", what is faster on this machine.

    Args:
        cfg: the configuration.
        net: the model that is trained.
        who: its role, for the log.
        data: what it is trained on.
        batch_size: samples per step.
        epochs: of the training.
        teacher: whose forward is part of each step, or None.
        eager: never compile.
    """
    accelerator, configured, model = cfg.trainer.accelerator, cfg.trainer.precision, net.model
    auto = configured == "auto" or cfg.compile == "auto"
    macs = 3 * size(model, data.example(1)).macs if auto else 0  # a backward takes twice as much as a forward
    chosen, reason = precision.resolve(configured, accelerator, model, macs * batch_size, net.model_info.inputs)
    teacher_macs = size(teacher, data.of_teacher().example(1)).macs if auto and teacher is not None else 0
    limit, share = cfg.trainer.limit_train_batches, 1.0
    if limit is not None:  # a number of batches, or a share of the epoch
        share = min(1.0, limit * batch_size / data.num_train if isinstance(limit, int) else limit)
    total = (macs + teacher_macs) * data.num_train * epochs * share
    if data.kind == "text":
        compiled, mode = False, "eager (texts differ in length)"
    else:
        compiled, mode = compilation.choose(False if eager else cfg.compile, uses_cuda(accelerator), total)
    layout = ", channels_last" if cfg.channels_last else ""
    of_teacher = teacher_precision(cfg, data, batch_size)(teacher) if teacher is not None else chosen
    suffix = f"; its teacher answers in {of_teacher}" if of_teacher != chosen else ""
    return ExecutionPolicy(chosen, compiled, f"{who} {net.name}: {chosen} ({reason}){layout}, {mode}{suffix}")


def teacher_precision(cfg: TrainConfig, data: DataModule[Any], batch_size: int) -> Callable[[nn.Module], Any]:
    """A function from a frozen model to the precision of its forward: where that is "auto", the model's own."""
    accelerator, configured = cfg.trainer.accelerator, cfg.trainer.precision

    def of(model: nn.Module) -> Any:
        macs = size(model, data.of_teacher().example(1)).macs if configured == "auto" else 0
        return precision.resolve(configured, accelerator, model, macs * batch_size)[0]

    return of
