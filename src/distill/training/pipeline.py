"""Runs an experiment: obtain the teachers, train the students, test and measure every model once."""

import logging
import time
from functools import partial
from pathlib import Path
from typing import Any

from distill.config.default_teacher import starts_from_teacher
from distill.config.schedules import count
from distill.config.schema import TrainConfig
from distill.distillation.model_info import NamedModel
from distill.distillation.teacher import Teacher
from distill.distillation.teacher_store import obtain
from distill.training.best_epoch import keep
from distill.training.closing_table import ORIGINS
from distill.training.fill_cache import fill
from distill.training.fit import fit, last_checkpoint
from distill.training.module import DistillationModule
from distill.training.overview import check_sizes, plan_lines
from distill.training.plan import Experiment, TrainingStage
from distill.training.results import TrainedStage, cache_reports, conclude, teacher_scores
from distill.training.summary import RunSummary, TeacherResult
from distill.utils.errors import UserError

log = logging.getLogger(__name__)


def _checkpoint_to_resume(experiment: Experiment, stage: TrainingStage) -> Path | None:
    """The checkpoint from which a stage of a resumed run continues; None: from its start."""
    if experiment.settings.resume is None:
        return None
    path = Path(experiment.settings.resume)
    return path if stage is experiment.stages[-1] and path.is_file() else last_checkpoint(stage.folder)


def _frozen(net: NamedModel, stage: TrainingStage, features: bool = True) -> Teacher:
    """A trained model as a frozen teacher; ``features``: whether the terms read its layers and embedding."""
    criterion = stage.criterion
    head = net.model_info.head if features and criterion.reads("teacher_embedding") else None
    return Teacher(
        net.model, criterion.extracted_layers("teacher") if features else (), head, stage.teacher_precision(net.model)
    )


def _pretrain(module: DistillationModule, stage: TrainingStage, resumed: bool) -> None:
    """Runs the pretraining of every term that has one, each a separate fit in ``pretraining/<term>``."""
    modes = [(part, part.training) for part in module.student.modules()]
    for term in stage.criterion.terms:
        if term.pretraining is None:
            continue
        folder = stage.folder / "pretraining" / term.name
        epochs = count(term.pretraining.epochs, stage.max_epochs)
        label = f"pretraining of {term.name} for {stage.role} {stage.student.name}"
        log.info(f"{label}: {epochs} epoch{'s' if epochs > 1 else ''}")
        module.criterion.set_pretraining(term.name)
        last = last_checkpoint(folder) if resumed else None
        fit(module, stage, folder, label, last, stop_early=False, max_epochs=epochs)
        for part, training in modes:  # a pretraining may leave the student in eval mode
            part.training = training


def _train(stage: TrainingStage, teacher: Teacher | None, experiment: Experiment) -> TrainedStage:
    """Fits one stage; pretraining comes first, unless a checkpoint of the main phase is resumed."""
    module = stage.make_module(stage, teacher)
    checkpoint = _checkpoint_to_resume(experiment, stage)
    if checkpoint is None:
        _pretrain(module, stage, resumed=experiment.settings.resume is not None)
    module.criterion.set_pretraining(None)
    result = fit(module, stage, stage.folder, stage.label, checkpoint)
    kept = keep(module, stage.label, stage.folder, result, experiment.settings.load_best_model_at_end)
    for cache in cache_reports(teacher):
        if cache["found"]:
            epochs = f"{cache['found']} of {cache['begun']} epochs"
            log.debug(f"teacher cache: {epochs} were there, drift {100 * cache['drift']:.2f} %")
    return TrainedStage(stage, module, result, kept)


def _train_teacher(stage: TrainingStage, load_best: bool, folder: Path) -> None:
    """Trains a teacher on labels, or continues its training."""
    checkpoint = last_checkpoint(folder)
    if checkpoint is not None:
        log.info(f"continuing the {stage.label}, which an interrupted run left half-trained in {folder}")
    module = stage.make_module(stage, None)
    keep(module, stage.label, folder, fit(module, stage, folder, stage.label, checkpoint), load_best)


def _obtain_teachers(experiment: Experiment) -> list[tuple[TrainingStage, partial[TeacherResult]]]:
    """Gives every teacher its weights, and measures it on validation; warns about one that has learned little.

    Returns:
        Their stages and results, but for test scores, size and speed.
    """
    load_best = experiment.settings.load_best_model_at_end
    teachers: list[tuple[TrainingStage, partial[TeacherResult]]] = []
    for stage in experiment.teachers:
        model, source = stage.student, stage.source
        assert source is not None
        origin, path = obtain(model, source, partial(_train_teacher, stage, load_best))
        log.info(f"{stage.label}: {ORIGINS[origin]} {path or ''}".rstrip())
        val = teacher_scores(model, experiment, "val")
        score = experiment.task.score
        log.info(f"teacher's validation {score.label}: {score.display(val[score.name])}")
        weakness = experiment.task.weakness(val)
        if weakness:
            log.warning(f"the teacher is {weakness}")
        teachers.append((stage, partial(TeacherResult, origin=origin, path=path, val=val)))
    return teachers


def _teacher_of(stage: TrainingStage, settings: TrainConfig) -> Teacher | None:
    """The stage's trained teachers as one frozen teacher."""
    criterion, nets = stage.criterion, stage.teachers
    if not nets:
        return None
    adopt: Any = getattr(stage.student.model, "adopt", None)
    if adopt is not None and (settings.kd.student_wrapper or starts_from_teacher(settings)):
        try:
            adopt(nets[0].model)
        except ValueError as error:
            raise UserError(f"kd.student_wrapper: {error}") from error
    criterion.calibrate(nets[0].model, nets[0].model_info)
    frozen = [_frozen(net, stage, features=i == 0) for i, net in enumerate(nets)]
    return stage.combine(list(stage.cache.wrap(frozen)) if stage.cache else frozen)


def run(experiment: Experiment) -> RunSummary | None:
    """Runs an experiment and writes ``summary.json`` in its folder.

    All processes of a distributed run train and evaluate; the first one measures and writes.

    Returns:
        The content of ``summary.json``; None in other processes than the first.
    """
    started = time.perf_counter()
    check_sizes(experiment)
    if log.isEnabledFor(logging.INFO):  # the plan's time takes some steps to measure
        for line in plan_lines(experiment):
            log.info(line)
    teachers = _obtain_teachers(experiment)
    if experiment.settings.cache.only:
        fill(_teacher_of(experiment.stages[-1], experiment.settings), experiment)
        return conclude(teachers, [], experiment, started)
    trained = [_train(stage, _teacher_of(stage, experiment.settings), experiment) for stage in experiment.stages]
    log.info("testing, and measuring size and speed")
    return conclude(teachers, trained, experiment, started)  # no test before the last training
