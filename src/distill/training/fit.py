"""One training: a stage's LightningModule, fitted or continued where it was stopped."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from distill.distillation.ensemble import Ensemble
from distill.distillation.teacher import Teacher
from distill.tasks.image_classification import ImageClassification
from distill.training.acceleration.callback import Acceleration
from distill.training.callbacks import PartialEpoch
from distill.training.module import DistillationModule
from distill.training.plan import Recipe, TrainingStage
from distill.training.quantization import Int8
from distill.utils import distributed
from distill.utils.atomic import write_json
from distill.utils.checkpoints import read_checkpoint
from distill.utils.errors import UserError, first_line


class FitResult(NamedTuple):
    """What is left of a training.

    Attributes:
        epoch: its last one, counted from 1.
        metrics: of that epoch.
        best: its best checkpoint, if one is kept.
        partial_train: whether it was resumed within its last epoch, so that metrics on train are of the rest only.
    """

    epoch: int
    metrics: dict[str, float]
    best: str | None
    partial_train: bool = False


def module_settings(stage: TrainingStage) -> dict[str, Any]:
    """The arguments that the LightningModules of all flows have in common."""
    recipe = stage.recipe
    return {
        "task": ImageClassification(recipe.data.num_classes),
        "optimizer": recipe.optimizer,
        "scheduler": recipe.scheduler,
        "seed": recipe.seed,
    }


def make_distiller(stage: TrainingStage, teacher: Teacher | Ensemble | None) -> DistillationModule:
    """The LightningModule of one student, with a teacher or without."""
    criterion = stage.recipe.criterion
    int8 = Int8(stage.student.model) if stage.int8 else None
    return DistillationModule(
        stage.student.model,
        criterion,
        teacher=teacher,
        head=stage.student.model_info.head if criterion.reads("student_embedding") else None,
        int8=int8,
        callbacks=[Acceleration(*stage.compiled, stage.cuda_graph and int8 is None, stage.prefetch)],
        **module_settings(stage),
    )


def _strategy(module: DistillationModule, strategy: str) -> dict[str, Any]:
    """For several processes. DDP looks for parameters without a gradient only where there may be some."""
    if not distributed.is_distributed():
        return {}
    if strategy == "fsdp":
        from distill.training.acceleration import sharding

        return {"strategy": sharding.ShardedStrategy()}
    criterion_learns = any(p.requires_grad for p in module.criterion.parameters())
    is_wrapped = hasattr(module.student, "adopt")
    unused = criterion_learns or is_wrapped or not module.criterion.teaches_student
    return {"strategy": "ddp_find_unused_parameters_true" if unused else "ddp"}


def last_checkpoint(folder: Path) -> Path | None:
    """``last.ckpt`` of a training that was begun in ``folder``."""
    path = folder / "checkpoints" / "last.ckpt"
    return path if path.exists() else None


def fit(
    module: DistillationModule, recipe: Recipe, folder: Path, label: str, resume: Path | None, **changes: Any
) -> FitResult:
    """Trains; continues from ``resume``, which Lightning reads.

    A training that had finished (early stopping included) stays as it was, whichever of its checkpoints is given.

    Args:
        module: what is trained.
        recipe: how.
        folder: where checkpoints and logs go.
        label: what is trained, for the terminal.
        resume: a checkpoint of this training; None: from the start.
        changes: arguments of the Trainer in place of the recipe's.

    Raises:
        UserError: a checkpoint that cannot be read, or is one of another configuration.
    """
    finished = folder / "finished.json"
    if resume is not None and finished.is_file():
        module.load_state_dict(read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"])
        return FitResult(**json.loads(finished.read_text()))
    partial_epoch = PartialEpoch()
    changes |= {**_strategy(module, recipe.strategy), "watchers": (partial_epoch,)}
    trainer = recipe.make_trainer(folder, label, **changes)
    try:
        trainer.fit(module, datamodule=recipe.data, ckpt_path=str(resume) if resume else None, weights_only=True)
    except (RuntimeError, KeyError, ValueError) as error:
        if resume is not None and "load" in str(error):
            raise UserError(f"{resume} does not fit this configuration: {first_line(error)}") from error
        raise
    finally:
        if module.teacher is not None:  # Lightning tears nothing down where a training was stopped
            module.teacher.flush()
    monitored = [c for c in trainer.checkpoint_callbacks if getattr(c, "monitor", None)]
    best = str(getattr(monitored[0], "best_model_path", "")) if monitored else None
    metrics = {k: float(v) for k, v in trainer.callback_metrics.items()}
    result = FitResult(trainer.current_epoch, metrics, best, partial_epoch.partial)
    distributed.broadcast_state(module)
    if distributed.is_rank_zero():
        write_json(finished, result._asdict())
    return result
