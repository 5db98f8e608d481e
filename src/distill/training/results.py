"""The results of a run: saved weights, scores, sizes and speeds of each model, and ``summary.json``.

A teacher's scores and the speeds of the same models are cached for the next job of a sweep in this process.
"""

import copy
import json
import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from distill.data import DataModule
from distill.distillation.criterion import Criterion
from distill.distillation.ensemble import Ensemble
from distill.distillation.model_info import NamedModel
from distill.distillation.teacher import Teacher
from distill.distillation.teacher_cache import CachedTeacher, CacheReport, digest
from distill.training import summary
from distill.training.best_epoch import Kept
from distill.training.closing_table import table
from distill.training.evaluation_module import EvaluationModule
from distill.training.final_scores import add_final_scores
from distill.training.fit import FitResult
from distill.training.kept_files import keep_for_opening
from distill.training.module import DistillationModule
from distill.training.plan import Experiment, TrainingStage
from distill.training.roles import Role, RoleKind
from distill.training.summary import (
    STUDENT_WEIGHTS,
    DataInfo,
    EpochScores,
    Measured,
    ModelResult,
    RunSummary,
    Scores,
    StudentResult,
    TeacherResult,
)
from distill.training.trainer import EVALUATION
from distill.utils import distributed, environment
from distill.utils.checkpoints import save_weights, weights_of
from distill.utils.console import print_table
from distill.utils.inputs import shapes, to_device
from distill.utils.precision import HALF
from distill.utils.profiling import size, speed

log = logging.getLogger(__name__)


def evaluation_module(net: NamedModel, experiment: Experiment) -> EvaluationModule:
    """A module that only evaluates a model."""
    return EvaluationModule(net.model, Criterion(task=experiment.task), experiment.task)


def evaluate(module: EvaluationModule, experiment: Experiment, split: str) -> Scores:
    """Metrics and loss terms on "val" or "test", by their names without the split."""
    return evaluate_on(module, experiment, experiment.data, split)


def evaluate_on(module: EvaluationModule, experiment: Experiment, data: DataModule[Any], split: str) -> Scores:
    """Likewise, on given data."""
    loader = data.test_dataloader() if split == "test" else data.val_dataloader()
    return Scores(module.evaluate(experiment.make_evaluator(), loader, split))


def evaluate_val_and_test(module: EvaluationModule, experiment: Experiment) -> dict[str, Scores]:
    """Metrics on validation and test."""
    return {split: evaluate(module, experiment, split) for split in ("val", "test")}


_scores: dict[str, Scores] = {}  # of teachers
_measured: dict[str, dict[Role, Measured]] = {}  # of all models of a job


def _cache_key(experiment: Experiment, *inputs: Any) -> str:
    """A cache key: equal for evaluations or measurements with the same result."""
    execution = [experiment.precision, experiment.settings.channels_last, torch.get_num_threads()]
    return json.dumps([*execution, *inputs], sort_keys=True, default=str)


def teacher_scores(net: NamedModel, experiment: Experiment, split: str) -> Scores:
    """Metrics of a teacher on "val" or "test", cached between the jobs of a sweep."""
    data = experiment.data.of_teacher()
    trainer = {name: getattr(experiment.settings.trainer, name) for name in EVALUATION}
    key = _cache_key(experiment, digest(net.model), data.fingerprint, data.evaluation_batch_size, trainer, split)
    if key not in _scores:
        _scores[key] = evaluate_on(evaluation_module(net, experiment), experiment, data, split)
    return Scores(_scores[key])


def measure(nets: dict[Role, NamedModel], experiment: Experiment) -> dict[Role, Measured]:
    """Size and speed of every model, on the device and at the batch size of the training.

    Cached between the jobs of a sweep, by the models' modules and the shapes and types of their weights.
    """
    data = experiment.data
    modules = {
        str(role): [net.name, repr(net.model), [(k, list(v.shape), v.dtype) for k, v in weights_of(net.model).items()]]
        for role, net in nets.items()
    }
    key = _cache_key(experiment, modules, shapes(data.example(1)), data.batch_size, vars(experiment.settings.trainer))
    if key not in _measured:
        _measured.clear()
        _measured[key] = _measured_now(nets, experiment)
    return _measured[key]


def _measured_now(nets: dict[Role, NamedModel], experiment: Experiment) -> dict[Role, Measured]:
    data = experiment.data
    device = experiment.make_evaluator().strategy.root_device
    teachers = data.of_teacher()
    own = {role: teachers if role.kind == RoleKind.TEACHER else data for role in nets}
    deployed = {role: getattr(net.model, "deployed", lambda net=net: net.model)() for role, net in nets.items()}
    sizes = {role: size(net.model.cpu(), own[role].example(1), deployed[role]) for role, net in nets.items()}
    batches = {str(role): to_device(each.example(data.batch_size), device) for role, each in own.items()}
    models = {str(role): model for role, model in deployed.items()}
    speeds = speed(models, batches, device, HALF.get(experiment.precision))
    return {role: Measured(name=net.name, size=sizes[role], speed=speeds[str(role)]) for role, net in nets.items()}


def cache_reports(teacher: Teacher | None) -> tuple[CacheReport, ...]:
    """The statistics of the caches of a stage's teachers."""
    if teacher is None:
        return ()
    members = teacher.teachers if isinstance(teacher, Ensemble) else (teacher,)
    return tuple(member.report() for member in members if isinstance(member, CachedTeacher))


class TrainedStage(NamedTuple):
    """A finished stage: its module, the result of its fit, and of which epoch the module holds the weights."""

    stage: TrainingStage
    module: DistillationModule
    fit: FitResult
    kept: Kept


def score_student(trained: TrainedStage, experiment: Experiment) -> partial[StudentResult]:
    """Saves the weights of the last epoch and of the best one on validation, and tests both, each once.

    Those that are kept are in ``student.safetensors``.
    """
    stage, module, fit, kept = trained

    def save_and_test(file: str, epoch: int) -> EpochScores:
        if distributed.is_rank_zero():
            save_weights(module.student, stage.folder / file)
        module.start_epoch(epoch - 1, stage.max_epochs)
        int8 = None
        if module.int8 is not None:
            int8 = evaluate_val_and_test(module, experiment)
            module.int8.on = False  # the weights are float, and tested as such
        return EpochScores(epoch, file, **evaluate_val_and_test(module, experiment), int8=int8)

    last = best = save_and_test(STUDENT_WEIGHTS, kept.epoch)
    if kept.other is not None and kept.best is not None:
        state = copy.deepcopy(module.state_dict())
        module.load_state_dict(kept.other)
        if module.int8 is not None:
            module.int8.on = True
        if kept.epoch == kept.best:
            last = save_and_test("student-last.safetensors", fit.epoch)
        else:
            best = save_and_test("student-best.safetensors", kept.best)
        module.load_state_dict(state)
    return partial(
        StudentResult,
        train=Scores({k.partition("/")[2]: v for k, v in fit.metrics.items() if k.startswith("train/")}),
        last=last,
        best=best if kept.best else None,
        partial_train=fit.partial_train,
        teacher_cache=cache_reports(module.teacher),
    )


def score_peer(model: NamedModel, role: Role, trained: TrainedStage, experiment: Experiment) -> partial[StudentResult]:
    """Saves the weights of a peer, and tests its last epoch."""
    file = f"{role}.safetensors"
    if distributed.is_rank_zero():
        save_weights(model.model, trained.stage.folder / file)
    scores = evaluate_val_and_test(evaluation_module(model, experiment), experiment)
    return partial(StudentResult, last=EpochScores(trained.fit.epoch, file, scores["val"], scores["test"]))


def conclude(
    teachers: list[tuple[TrainingStage, partial[TeacherResult]]],
    stages: list[TrainedStage],
    experiment: Experiment,
    started: float,
) -> RunSummary | None:
    """Tests and measures every model, writes ``summary.json`` and prints the closing table.

    Args:
        teachers: the stages of the run's teachers, and their results but for test scores, size and speed.
        stages: every finished training of students.
        experiment: the run.
        started: when the run began, in seconds of ``time.perf_counter``.

    Returns:
        The content of ``summary.json``; None in other processes than the first.
    """
    models: dict[Role, NamedModel] = {}
    results: dict[Role, Callable[..., ModelResult]] = {}  # all but size and speed
    for trained in stages:
        role = trained.stage.role
        models[role], results[role] = trained.stage.student, score_student(trained, experiment)
        for i, peer in enumerate(trained.stage.peers, 1):
            role = Role(RoleKind.PEER, i)
            models[role], results[role] = peer, score_peer(peer, role, trained, experiment)
    for stage, result in teachers:
        test = teacher_scores(stage.student, experiment, "test")
        models[stage.role], results[stage.role] = stage.student, partial(result, test=test)
    if not distributed.is_rank_zero():
        return None
    measured = measure(dict(sorted(models.items())), experiment)
    run_summary = RunSummary(
        models={role: results[role](**vars(cost)) for role, cost in measured.items()},
        data=DataInfo(name=experiment.settings.data.name, **experiment.data.describe()),
        seed=experiment.settings.seed,
        precision=experiment.precision,
        wall_s=round(time.perf_counter() - started, 1),
        resumed=experiment.settings.resume is not None,
        versions=environment.versions(),
        hardware=environment.hardware(experiment.make_evaluator().strategy.root_device),
        git_commit=environment.git_commit(Path(__file__).parent),
        command=environment.command(),
        config=experiment.config,
        task=experiment.task.info,
    )
    keep_for_opening(models, experiment)
    add_final_scores(run_summary.models, models, experiment)
    summary.write(run_summary, experiment.folder)
    if log.isEnabledFor(logging.INFO):
        print_table(table(run_summary), [f"results: {experiment.folder}/{summary.FILE}"])
    return run_summary
