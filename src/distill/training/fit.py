"""One training: a stage's LightningModule, fitted or continued where it was stopped."""

from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from distill.distillation.teacher import Teacher
from distill.training.acceleration.callback import Acceleration
from distill.training.callbacks import LastEpoch
from distill.training.module import DistillationModule
from distill.training.plan import TrainingStage
from distill.training.quantization import Int8
from distill.utils import checked, distributed
from distill.utils.checkpoints import read_checkpoint
from distill.utils.errors import UserError, first_line


class FitResult(NamedTuple):
    """The last epoch (counted from 1) of a training, the metrics of that epoch, the path of the best checkpoint.

    ``partial_train``: it was resumed within its last epoch, so that metrics on train cover the rest of it only.
    """

    epoch: int
    metrics: dict[str, float]
    best: str | None
    partial_train: bool = False


def module_settings(stage: TrainingStage) -> dict[str, Any]:
    """The arguments shared by the LightningModules of all flows."""
    return {name: getattr(stage, name) for name in ("task", "optimizer", "scheduler", "seed")}


def make_distiller(stage: TrainingStage, teacher: Teacher | None) -> DistillationModule:
    """The LightningModule of one student, with a teacher or without."""
    int8 = Int8(stage.student.model) if stage.int8 else None
    return DistillationModule(
        stage.student.model,
        stage.criterion,
        teacher=teacher,
        head=stage.student.model_info.head if stage.criterion.reads("student_embedding") else None,
        int8=int8,
        callbacks=[Acceleration(*stage.compiled, stage.cuda_graph and int8 is None, stage.prefetch)],
        **module_settings(stage),
    )


def last_checkpoint(folder: Path) -> Path | None:
    """``last.ckpt`` of the training in ``folder``, if any."""
    path = folder / "checkpoints" / "last.ckpt"
    return path if path.exists() else None


def fit(
    module: DistillationModule, stage: TrainingStage, folder: Path, label: str, resume: Path | None, **changes: Any
) -> FitResult:
    """Trains a module. A training that has finished (early stopping included) is loaded, not continued.

    Args:
        module: is trained in place.
        stage: its data and its Trainer.
        folder: for checkpoints and logs.
        label: what is trained, for the terminal.
        resume: a checkpoint of this training; None: from the start.
        changes: arguments of the Trainer that replace the stage's.

    Raises:
        UserError: a checkpoint that cannot be read, or is one of another configuration.
    """
    finished = folder / "finished.json"
    if resume is not None and finished.is_file():
        module.load_state_dict(read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"])
        try:
            return FitResult(**checked.parse(finished))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{finished} is not what was written: {error}; start a new run") from error
    last_epoch = LastEpoch()
    trainer = stage.make_trainer(folder, label, module, watchers=(last_epoch,), **changes)
    try:
        trainer.fit(module, datamodule=stage.data, ckpt_path=str(resume) if resume else None, weights_only=True)
    except (RuntimeError, KeyError, ValueError) as error:
        if resume is not None and "load" in str(error):
            raise UserError(f"{resume} does not fit this configuration: {first_line(error)}") from error
        if "returned nan values" in str(error):
            raise UserError(f"trainer.detect_anomaly=true: {first_line(error)}") from error
        raise
    finally:
        if module.teacher is not None:  # Lightning tears nothing down where a training was stopped
            module.teacher.flush()
    monitored = [c for c in trainer.checkpoint_callbacks if getattr(c, "monitor", None)]
    best = str(getattr(monitored[0], "best_model_path", "")) if monitored else None
    metrics = last_epoch.metrics | {k: float(v) for k, v in trainer.callback_metrics.items()}
    result = FitResult(trainer.current_epoch, metrics, best, last_epoch.partial)
    state = module.state_dict().values()
    distributed.broadcast_tensors(
        value for value in state if isinstance(value, Tensor)
    )  # DDP keeps running statistics apart
    if distributed.is_rank_zero():
        checked.write_json(finished, result._asdict())
    return result
