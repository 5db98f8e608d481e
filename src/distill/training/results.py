"""What a run's trainings left: weights kept, scores of each model, and the report of the whole run."""

import time
from pathlib import Path
from typing import Any, NamedTuple

from distill.distillation.ensemble import Ensemble
from distill.distillation.model_info import NamedModel
from distill.distillation.teacher import Teacher
from distill.distillation.teacher_cache import CachedTeacher
from distill.training import summary
from distill.training.module import Distiller
from distill.training.plan import Experiment, TrainingStage
from distill.training.scoring import evaluate, evaluate_val_and_test, evaluation_module, measure
from distill.utils import distributed, environment
from distill.utils.checkpoints import read_checkpoint, save_weights


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


def cache_reports(teacher: Teacher | Ensemble | None) -> list[dict[str, Any]]:
    """What the caches of a stage's teachers gave."""
    if teacher is None:
        return []
    members = teacher.teachers if isinstance(teacher, Ensemble) else (teacher,)
    return [member.report() for member in members if isinstance(member, CachedTeacher)]


def student_results(
    module: Distiller, trained: FitResult, stage: TrainingStage, experiment: Experiment
) -> dict[str, Any]:
    """Last epoch and best-on-validation epoch, apart: weights kept, tested once each."""
    train = {k.partition("/")[2]: v for k, v in trained.metrics.items() if k.startswith("train/")}

    def kept(file: str, epoch: int) -> dict[str, Any]:
        if distributed.is_rank_zero():
            save_weights(module.student, stage.folder / file)
        module.start_epoch(epoch - 1, stage.max_epochs)
        int8 = {"int8": evaluate_val_and_test(module, experiment)} if module.int8 is not None else {}
        if module.int8 is not None:
            module.int8.on = False  # the weights are float, and tested as such
        return {"epoch": epoch, "weights": file, **evaluate_val_and_test(module, experiment), **int8}

    results: dict[str, Any] = {"train": train, "last": kept("student.safetensors", trained.epoch)}
    if cached := cache_reports(module.teacher):
        results["teacher_cache"] = cached
    if trained.partial_train:
        results["partial_train"] = True
    if trained.best is None:
        return results
    path = Path(trained.best)
    if not path.is_file():  # a run whose folder was moved
        path = stage.folder / "checkpoints" / "best.ckpt"
    if not path.is_file():
        return results
    checkpoint = read_checkpoint(path)
    epoch = checkpoint["epoch"] + 1
    if epoch == trained.epoch:
        results["best"] = results["last"]
    else:
        last = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        module.load_state_dict(checkpoint["state_dict"])
        if module.int8 is not None:
            module.int8.on = True
        results["best"] = kept("student-best.safetensors", epoch)
        module.load_state_dict(last)
    return results


def peer_results(
    net: NamedModel, role: str, stage: TrainingStage, trained: FitResult, experiment: Experiment
) -> dict[str, Any]:
    """A student beside the first one: its last epoch."""
    file = f"{role}.safetensors"
    if distributed.is_rank_zero():
        save_weights(net.model, stage.folder / file)
    scores = {split: evaluate(evaluation_module(net, experiment), experiment, split) for split in ("val", "test")}
    return {"last": {"epoch": trained.epoch, "weights": file, **scores}}


def report(
    nets: dict[str, NamedModel], results: dict[str, dict[str, Any]], experiment: Experiment, started: float
) -> dict[str, Any]:
    """Completes the results with every model's measured cost, writes ``summary.json`` and prints the closing table.

    Args:
        nets: every model of the run by role.
        results: their scores by role; each gets its size and speed.
        experiment: the run.
        started: when the run began, in seconds of ``time.perf_counter``.

    Returns:
        What ``summary.json`` holds; on other processes than the first the scores alone.
    """
    if not distributed.is_rank_zero():
        return results
    for role, measured in measure(nets, experiment).items():
        results[role] |= measured
    whole: dict[str, Any] = {
        **results,
        "ratios": summary.ratios(results),
        "data": {"name": experiment.config["data"]["name"], **experiment.data.describe()},
        "seed": experiment.seed,
        "precision": experiment.precision,
        "wall_s": round(time.perf_counter() - started, 1),
        "resumed": experiment.resume is not None,
        "versions": environment.versions(),
        "hardware": environment.hardware(experiment.make_evaluator().strategy.root_device),
        "git_commit": environment.git_commit(Path(__file__).parent),
        "command": environment.command(),
        "config": experiment.config,
    }
    summary.write(whole, experiment.folder)
    summary.show(whole, experiment.folder)
    return whole
