"""The main job on objects: get the teacher, train the student, test both once, measure, keep the results."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from distill.config.schedules import count
from distill.distillation.ensemble import Ensemble
from distill.distillation.model_info import NamedModel
from distill.distillation.teacher import Teacher
from distill.distillation.teacher_store import TeacherSource, obtain
from distill.tasks.image_classification import ImageClassification
from distill.training.acceleration.callback import Acceleration
from distill.training.closing_table import ORIGINS
from distill.training.module import Distiller
from distill.training.mutual import MutualDistiller
from distill.training.plan import Experiment, Recipe, TrainingStage
from distill.training.quantization import Int8
from distill.training.results import FitResult, TrainedStage, TrainedTeacher, cache_reports, conclude
from distill.training.scoring import teacher_scores
from distill.training.summary import RunSummary
from distill.utils import distributed
from distill.utils.checkpoints import read_checkpoint
from distill.utils.errors import UserError, first_line


def _distiller(stage: TrainingStage, teacher: Teacher | Ensemble | None) -> Distiller:
    recipe, criterion = stage.recipe, stage.recipe.criterion
    settings: dict[str, Any] = {
        "task": ImageClassification(recipe.data.num_classes),
        "optimizer": recipe.optimizer,
        "scheduler": recipe.scheduler,
        "seed": recipe.seed,
    }
    if stage.peers:
        nets = (stage.student, *stage.peers)
        embedded = any(criterion.reads(f"{side}_embedding") for side in ("student", "teacher"))
        heads = [net.model_info.head if embedded else None for net in nets]
        return MutualDistiller([net.model for net in nets], stage.mutual, heads, **settings)
    head = stage.student.model_info.head if criterion.reads("student_embedding") else None
    int8 = Int8(stage.student.model) if stage.int8 else None
    return Distiller(
        stage.student.model,
        criterion,
        teacher=teacher,
        head=head,
        int8=int8,
        callbacks=[Acceleration(*stage.compiled, stage.cuda_graph and int8 is None, stage.prefetch)],
        **settings,
    )


def _strategy(module: Distiller, asked: str) -> dict[str, Any]:
    """For several processes. DDP looks for parameters without a gradient only where there may be some."""
    if not distributed.is_distributed():
        return {}
    if asked == "fsdp":
        from distill.training.acceleration import sharding

        return {"strategy": sharding.ShardedStrategy()}
    own = any(p.requires_grad for p in module.criterion.parameters())
    wrapped = hasattr(module.student, "adopt")
    unused = own or wrapped or not module.criterion.teaches_student
    return {"strategy": "ddp_find_unused_parameters_true" if unused else "ddp"}


def _within_epoch(checkpoint: dict[str, Any]) -> int | None:
    """The epoch, counted from 1, in whose middle a checkpoint was written; None: at an epoch's end."""
    progress = checkpoint.get("loops", {}).get("fit_loop", {}).get("epoch_loop.batch_progress")
    return None if progress is None or progress["is_last_batch"] else checkpoint["epoch"] + 1


def _fit(module: Distiller, recipe: Recipe, folder: Path, label: str, resume: Path | None, **changes: Any) -> FitResult:
    """Trains; continues from ``resume``.

    A training that had finished (early stopping included) stays as it was, whichever of its checkpoints is given.
    """
    done = folder / "finished.json"
    if resume is not None and done.is_file():
        module.load_state_dict(read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"])
        return FitResult(**json.loads(done.read_text()))
    begun = _within_epoch(read_checkpoint(resume)) if resume is not None else None
    changes |= _strategy(module, recipe.strategy)
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
    trained = FitResult(trainer.current_epoch, metrics, best, begun == trainer.current_epoch)
    distributed.align(module)
    if not distributed.is_rank_zero():
        return trained
    part = done.with_suffix(".part")
    part.write_text(json.dumps(trained._asdict()))
    part.replace(done)
    return trained


def _frozen(net: NamedModel, stage: TrainingStage, features: bool = True) -> Teacher:
    """A trained model as a teacher; ``features``: whether the terms read more of it than its logits."""
    criterion = stage.recipe.criterion
    head = net.model_info.head if features and criterion.reads("teacher_embedding") else None
    return Teacher(
        net.model, criterion.extracted_layers("teacher") if features else (), head, stage.answers_in(net.model)
    )


def _last(folder: Path) -> Path | None:
    """``last.ckpt`` of a training that was begun in ``folder``, readable."""
    path = folder / "checkpoints" / "last.ckpt"
    if not path.exists():
        return None
    read_checkpoint(path)
    return path


def _checkpoint_to_resume(experiment: Experiment, stage: TrainingStage) -> Path | None:
    """Where a stage of a resumed run continues; None: at its start."""
    if experiment.resume is None:
        return None
    given = Path(experiment.resume)
    if stage is experiment.stages[-1] and given.is_file():
        read_checkpoint(given)
        return given
    return _last(stage.folder)


def _prepare(module: Distiller, stage: TrainingStage, resumed: bool) -> None:
    """Runs the pretraining of every term that has one, each a training of its own in ``pretraining/<term>``."""
    modes = [(part, part.training) for part in module.student.modules()]
    for term in stage.recipe.criterion.terms:
        if term.pretraining is None:
            continue
        folder = stage.folder / "pretraining" / term.name
        epochs = count(term.pretraining.epochs, stage.max_epochs)
        label = f"pretraining of {term.name} for {stage.role} {stage.student.name}"
        print(f"{label}: {epochs} epoch{'s' if epochs > 1 else ''}", flush=True)
        module.criterion.set_pretraining(term.name)
        last = _last(folder) if resumed else None
        _fit(module, stage.recipe, folder, label, last, stop_early=False, max_epochs=epochs)
        for part, training in modes:  # one that does not train the student leaves it in eval mode
            part.training = training


def _teach(
    stage: TrainingStage, teacher: Teacher | Ensemble | None, experiment: Experiment
) -> tuple[Distiller, FitResult]:
    """One stage, its pretraining stages first, unless the checkpoint to continue from has them behind it."""
    module = _distiller(stage, teacher)
    checkpoint = _checkpoint_to_resume(experiment, stage)
    if checkpoint is None:
        _prepare(module, stage, resumed=experiment.resume is not None)
    module.criterion.set_pretraining(None)
    label = f"{stage.role.replace('_', ' ')} {stage.student.name}"
    trained = _fit(module, stage.recipe, stage.folder, label, checkpoint)
    for cache in cache_reports(teacher):
        if cache["found"]:
            found, begun, drift = cache["found"], cache["begun"], 100 * cache["drift"]
            print(f"teacher cache: {found} of {begun} epochs were there, drift {drift:.2f} %", flush=True)
    return module, trained


def _say_how_good(name: str, experiment: Experiment, accuracy: float) -> None:
    """A teacher's accuracy before anything is learnt from it, and a warning where it is hardly above chance."""
    chance = 1 / experiment.data.num_classes
    print(f"{name}'s validation accuracy: {100 * accuracy:.2f} %", flush=True)
    if accuracy < 2 * chance and accuracy < 0.9:
        print(f"warning: the {name} is hardly better than chance ({100 * chance:.2f} %)", file=sys.stderr, flush=True)


def _obtain_teachers(experiment: Experiment) -> list[TrainedTeacher]:
    """Every teacher trained, with its scores on validation."""
    teachers: list[TrainedTeacher] = []
    for net, source in experiment.teachers:

        def train(folder: Path, net: NamedModel = net, source: TeacherSource = source) -> None:
            stage = TrainingStage(
                "teacher", net, source.recipe, folder, source.max_epochs, compiled=(source.compiled, False),
                cuda_graph=source.cuda_graph,
            )  # fmt: skip
            _fit(_distiller(stage, None), source.recipe, folder, f"teacher {net.name}", _last(folder))

        origin = obtain(net, source, train)
        print(f"teacher {net.name}: {ORIGINS[origin['origin']]} {origin['path'] or ''}".rstrip(), flush=True)
        teachers.append(TrainedTeacher(net, **origin, val=teacher_scores(net, experiment, "val")))
        _say_how_good("teacher", experiment, teachers[-1].val.acc)
    return teachers


def _teacher_of(stage: TrainingStage, previous: NamedModel | None, experiment: Experiment) -> Teacher | Ensemble | None:
    """The stage's teacher: the student of the stage before, or the first ones (an ensemble where several)."""
    criterion = stage.recipe.criterion
    nets = [previous] if previous else [net for net, _ in experiment.teachers]
    if not nets or stage.peers:
        return None
    adopt: Any = getattr(stage.student.model, "adopt", None)
    if adopt is not None:
        try:
            adopt(nets[0].model)
        except ValueError as error:
            raise UserError(f"kd.student_wrapper: {error}") from error
    criterion.calibrate(nets[0].model, nets[0].model_info)
    frozen = [_frozen(net, stage, features=i == 0) for i, net in enumerate(nets)]
    return experiment.combine(list(stage.cache.wrap(frozen)) if stage.cache else frozen)


def run(experiment: Experiment) -> RunSummary | None:
    """Runs the job and writes ``summary.json`` in its folder.

    Where the job has several processes all of them train and evaluate, and the first one does the rest.

    Returns:
        What ``summary.json`` holds; None on other processes than the first.
    """
    started = time.perf_counter()
    teachers = _obtain_teachers(experiment)
    taught: list[TrainedStage] = []
    for stage in experiment.stages:
        previous = taught[-1].stage.student if taught else None
        taught.append(TrainedStage(stage, *_teach(stage, _teacher_of(stage, previous, experiment), experiment)))
    return conclude(teachers, taught, experiment, started)  # no test before the last training
