"""The main job on objects: get the teacher, train the student, test both once, measure, keep the results."""

import logging
import time
from functools import partial
from pathlib import Path
from typing import Any

from distill.config.schedules import count
from distill.distillation.ensemble import Ensemble
from distill.distillation.model_info import NamedModel
from distill.distillation.teacher import Teacher
from distill.distillation.teacher_store import obtain
from distill.training.closing_table import ORIGINS
from distill.training.fit import FitResult, fit, last_checkpoint
from distill.training.module import DistillationModule
from distill.training.plan import Experiment, TrainingStage
from distill.training.results import TrainedStage, TrainedTeacher, cache_reports, conclude
from distill.training.scoring import teacher_scores
from distill.training.summary import RunSummary
from distill.utils.errors import UserError

log = logging.getLogger(__name__)


def _checkpoint_to_resume(experiment: Experiment, stage: TrainingStage) -> Path | None:
    """Where a stage of a resumed run continues; None: at its start."""
    if experiment.resume is None:
        return None
    path = Path(experiment.resume)
    return path if stage is experiment.stages[-1] and path.is_file() else last_checkpoint(stage.folder)


def _frozen(net: NamedModel, stage: TrainingStage, features: bool = True) -> Teacher:
    """A trained model as a teacher; ``features``: whether the terms read more of it than its logits."""
    criterion = stage.recipe.criterion
    head = net.model_info.head if features and criterion.reads("teacher_embedding") else None
    return Teacher(
        net.model, criterion.extracted_layers("teacher") if features else (), head, stage.answers_in(net.model)
    )


def _pretrain(module: DistillationModule, stage: TrainingStage, resumed: bool) -> None:
    """Runs the pretraining of every term that has one, each a training of its own in ``pretraining/<term>``."""
    modes = [(part, part.training) for part in module.student.modules()]
    for term in stage.recipe.criterion.terms:
        if term.pretraining is None:
            continue
        folder = stage.folder / "pretraining" / term.name
        epochs = count(term.pretraining.epochs, stage.max_epochs)
        label = f"pretraining of {term.name} for {stage.role} {stage.student.name}"
        log.info(f"{label}: {epochs} epoch{'s' if epochs > 1 else ''}")
        module.criterion.set_pretraining(term.name)
        last = last_checkpoint(folder) if resumed else None
        fit(module, stage.recipe, folder, label, last, stop_early=False, max_epochs=epochs)
        for part, training in modes:  # one that does not train the student leaves it in eval mode
            part.training = training


def _train(
    stage: TrainingStage, teacher: Teacher | Ensemble | None, experiment: Experiment
) -> tuple[DistillationModule, FitResult]:
    """One stage, its pretraining stages first, unless the checkpoint to continue from has them behind it."""
    module = stage.make_module(stage, teacher)
    checkpoint = _checkpoint_to_resume(experiment, stage)
    if checkpoint is None:
        _pretrain(module, stage, resumed=experiment.resume is not None)
    module.criterion.set_pretraining(None)
    result = fit(module, stage.recipe, stage.folder, stage.label, checkpoint)
    for cache in cache_reports(teacher):
        if cache["found"]:
            found, begun, drift = cache["found"], cache["begun"], 100 * cache["drift"]
            log.info(f"teacher cache: {found} of {begun} epochs were there, drift {drift:.2f} %")
    return module, result


def _say_how_good(name: str, experiment: Experiment, accuracy: float) -> None:
    """A teacher's accuracy before anything is learnt from it, and a warning where it is hardly above chance."""
    chance = 1 / experiment.data.num_classes
    log.info(f"{name}'s validation accuracy: {100 * accuracy:.2f} %")
    if accuracy < 2 * chance and accuracy < 0.9:
        log.warning(f"the {name} is hardly better than chance ({100 * chance:.2f} %)")


def _train_teacher(stage: TrainingStage, folder: Path) -> None:
    """Trains a teacher on labels; one whose training was stopped continues."""
    fit(stage.make_module(stage, None), stage.recipe, folder, stage.label, last_checkpoint(folder))


def _obtain_teachers(experiment: Experiment) -> list[TrainedTeacher]:
    """Every teacher trained, with its scores on validation."""
    teachers: list[TrainedTeacher] = []
    for net, source, stage in experiment.teachers:
        origin = obtain(net, source, partial(_train_teacher, stage))
        log.info(f"teacher {net.name}: {ORIGINS[origin['origin']]} {origin['path'] or ''}".rstrip())
        teachers.append(TrainedTeacher(net, **origin, val=teacher_scores(net, experiment, "val")))
        _say_how_good("teacher", experiment, teachers[-1].val.acc)
    return teachers


def _teacher_of(stage: TrainingStage) -> Teacher | Ensemble | None:
    """The stage's teachers, trained by now, as one frozen teacher."""
    criterion, nets = stage.recipe.criterion, stage.teachers
    if not nets:
        return None
    adopt: Any = getattr(stage.student.model, "adopt", None)
    if adopt is not None:
        try:
            adopt(nets[0].model)
        except ValueError as error:
            raise UserError(f"kd.student_wrapper: {error}") from error
    criterion.calibrate(nets[0].model, nets[0].model_info)
    frozen = [_frozen(net, stage, features=i == 0) for i, net in enumerate(nets)]
    return stage.combine(list(stage.cache.wrap(frozen)) if stage.cache else frozen)


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
        taught.append(TrainedStage(stage, *_train(stage, _teacher_of(stage), experiment)))
    return conclude(teachers, taught, experiment, started)  # no test before the last training
