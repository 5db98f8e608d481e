"""What a run's trainings left: weights kept, scores of each model, and the report of the whole run."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from distill.distillation.ensemble import Ensemble
from distill.distillation.model_info import NamedModel
from distill.distillation.teacher import Teacher
from distill.distillation.teacher_cache import CachedTeacher
from distill.training import summary
from distill.training.closing_table import show
from distill.training.fit import FitResult
from distill.training.module import DistillationModule
from distill.training.plan import Experiment, TrainingStage
from distill.training.roles import Role, RoleKind
from distill.training.scoring import evaluate, evaluate_val_and_test, evaluation_module, measure, teacher_scores
from distill.training.summary import (
    DataInfo,
    EpochScores,
    Hardware,
    ModelResult,
    RunSummary,
    Scores,
    StudentResult,
    TeacherResult,
)
from distill.utils import distributed, environment
from distill.utils.checkpoints import read_checkpoint, save_weights


def cache_reports(teacher: Teacher | Ensemble | None) -> tuple[dict[str, Any], ...]:
    """What the caches of a stage's teachers gave."""
    if teacher is None:
        return ()
    members = teacher.teachers if isinstance(teacher, Ensemble) else (teacher,)
    return tuple(member.report() for member in members if isinstance(member, CachedTeacher))


class TrainedTeacher(NamedTuple):
    """A teacher with its weights: where these come from, their file, its scores on validation."""

    model: NamedModel
    origin: str
    path: str | None
    val: Scores


class TrainedStage(NamedTuple):
    """A finished stage: its module, which holds the weights of the last epoch, and what the training left."""

    stage: TrainingStage
    module: DistillationModule
    fit: FitResult


def score_student(trained: TrainedStage, experiment: Experiment) -> partial[StudentResult]:
    """Keeps the weights of the last epoch and of the best one on validation, and tests both, each once."""
    stage, module, fit = trained

    def tested(file: str, epoch: int) -> EpochScores:
        if distributed.is_rank_zero():
            save_weights(module.student, stage.folder / file)
        module.start_epoch(epoch - 1, stage.max_epochs)
        int8 = None
        if module.int8 is not None:
            int8 = evaluate_val_and_test(module, experiment)
            module.int8.on = False  # the weights are float, and tested as such
        return EpochScores(epoch, file, **evaluate_val_and_test(module, experiment), int8=int8)

    last = tested("student.safetensors", fit.epoch)
    best = None
    path = _best_checkpoint(trained)
    if path is not None:
        checkpoint = read_checkpoint(path)
        epoch = checkpoint["epoch"] + 1
        best = last
        if epoch != fit.epoch:
            state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
            module.load_state_dict(checkpoint["state_dict"])
            if module.int8 is not None:
                module.int8.on = True
            best = tested("student-best.safetensors", epoch)
            module.load_state_dict(state)
    return partial(
        StudentResult,
        train=Scores({k.partition("/")[2]: v for k, v in fit.metrics.items() if k.startswith("train/")}),
        last=last,
        best=best,
        partial_train=fit.partial_train,
        teacher_cache=cache_reports(module.teacher),
    )


def _best_checkpoint(trained: TrainedStage) -> Path | None:
    """The checkpoint of the best epoch on validation; None: none was kept."""
    if trained.fit.best is None:
        return None
    moved = trained.stage.folder / "checkpoints" / "best.ckpt"  # of a run whose folder was moved
    return next((path for path in (Path(trained.fit.best), moved) if path.is_file()), None)


def score_peer(model: NamedModel, role: Role, trained: TrainedStage, experiment: Experiment) -> partial[StudentResult]:
    """Keeps the weights of a student that learnt beside the main one, and tests its last epoch."""
    file = f"{role}.safetensors"
    if distributed.is_rank_zero():
        save_weights(model.model, trained.stage.folder / file)
    val, test = (evaluate(evaluation_module(model, experiment), experiment, split) for split in ("val", "test"))
    return partial(StudentResult, last=EpochScores(trained.fit.epoch, file, val, test))


def conclude(
    teachers: list[TrainedTeacher], stages: list[TrainedStage], experiment: Experiment, started: float
) -> RunSummary | None:
    """Tests and measures every model, writes ``summary.json`` and prints the closing table.

    Args:
        teachers: the run's teachers, the main one first.
        stages: every finished training of students.
        experiment: the run.
        started: when the run began, in seconds of ``time.perf_counter``.

    Returns:
        What ``summary.json`` holds; None on other processes than the first.
    """
    models: dict[Role, NamedModel] = {}
    results: dict[Role, Callable[..., ModelResult]] = {}  # all but size and speed
    for trained in stages:
        role = Role.parse(trained.stage.role)
        models[role], results[role] = trained.stage.student, score_student(trained, experiment)
        for i, peer in enumerate(trained.stage.peers, 1):
            role = Role(RoleKind.PEER, i)
            models[role], results[role] = peer, score_peer(peer, role, trained, experiment)
    for i, teacher in enumerate(teachers, 1):
        role, test = Role(RoleKind.TEACHER, i), teacher_scores(teacher.model, experiment, "test")
        models[role] = teacher.model
        results[role] = partial(TeacherResult, origin=teacher.origin, path=teacher.path, val=teacher.val, test=test)
    if not distributed.is_rank_zero():
        return None
    measured = measure(dict(sorted(models.items())), experiment)
    run_summary = RunSummary(
        models={role: results[role](**vars(cost)) for role, cost in measured.items()},
        data=DataInfo(name=experiment.config["data"]["name"], **experiment.data.describe()),
        seed=experiment.seed,
        precision=experiment.precision,
        wall_s=round(time.perf_counter() - started, 1),
        resumed=experiment.resume is not None,
        versions=environment.versions(),
        hardware=Hardware(**environment.hardware(experiment.make_evaluator().strategy.root_device)),
        git_commit=environment.git_commit(Path(__file__).parent),
        command=environment.command(),
        config=experiment.config,
    )
    summary.write(run_summary, experiment.folder)
    show(run_summary, experiment.folder)
    return run_summary
