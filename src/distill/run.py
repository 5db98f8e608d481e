"""The main job on objects: get the teacher, train the student, test both once, measure, keep the results."""

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from torch import nn

from distill import environment, summary
from distill.checkpoints import read_checkpoint, save_weights
from distill.criterion import Criterion
from distill.data import DataModule
from distill.errors import UserError, first_line
from distill.measure import size, speed
from distill.module import Distiller, OptimizerFactory
from distill.schedulers import SchedulerFactory
from distill.taps import Anatomy
from distill.teacher import Teacher
from distill.teachers import TeacherSource, obtain


@dataclass(frozen=True)
class Net:
    """A model under its name, and what a dry forward saw of it."""

    name: str
    model: nn.Module
    anatomy: Anatomy


@dataclass(frozen=True)
class Recipe:
    """How one model is trained; ``make_trainer(folder, label)`` gives the Trainer."""

    data: DataModule
    optimizer: OptimizerFactory
    scheduler: SchedulerFactory | None
    make_trainer: Callable[..., L.Trainer]
    criterion: Criterion
    seed: int


@dataclass(frozen=True)
class Job:
    """All objects of one run. Without a student, only the teacher is trained; without a teacher, only the student."""

    folder: Path
    student: Net | None
    teacher: Net | None
    source: TeacherSource | None
    recipe: Recipe
    make_evaluator: Callable[[], L.Trainer]
    config: Any
    resume: str | None
    precision: str


def _distiller(net: Net, recipe: Recipe, teacher: Teacher | None) -> Distiller:
    return Distiller(
        net.model,
        recipe.criterion,
        recipe.data.num_classes,
        teacher,
        recipe.optimizer,
        recipe.scheduler,
        head=net.anatomy.head if recipe.criterion.reads("student_embedding") else None,
        seed=recipe.seed,
    )


def _fit(module: Distiller, recipe: Recipe, folder: Path, label: str, resume: Path | None) -> L.Trainer:
    """Trains; continues from ``resume``."""
    trainer = recipe.make_trainer(folder, label)
    try:
        trainer.fit(module, datamodule=recipe.data, ckpt_path=str(resume) if resume else None, weights_only=True)
    except (RuntimeError, KeyError, ValueError) as error:
        if resume is not None and "load" in str(error):
            raise UserError(f"{resume} does not fit this configuration: {first_line(error)}") from error
        raise
    return trainer


def _frozen(net: Net, criterion: Criterion) -> Teacher:
    head = net.anatomy.head if criterion.reads("teacher_embedding") else None
    return Teacher(net.model, criterion.taps("teacher"), head)


def _checkpoint_to_resume(job: Job) -> Path | None:
    """``last.ckpt`` of a resumed run (or the checkpoint that was named), readable."""
    if job.resume is None:
        return None
    given = Path(job.resume)
    path = given if given.is_file() else job.folder / "checkpoints" / "last.ckpt"
    if not path.exists():
        return None  # stopped before the student's first checkpoint: the teacher's own folder continues by itself
    read_checkpoint(path)
    return path


def _evaluate(module: Distiller, job: Job, split: str) -> dict[str, float]:
    """Metrics and loss terms on "val" or "test", by their names without the split."""
    data, trainer = job.recipe.data, job.make_evaluator()
    if split == "test":
        results = trainer.test(module, dataloaders=data.test_dataloader(), verbose=False)
    else:
        results = trainer.validate(module, dataloaders=data.val_dataloader(), verbose=False)
    return {key.partition("/")[2]: value for key, value in results[0].items()}


def _say_how_good(job: Job, accuracy: float) -> None:
    """The teacher's accuracy before anything is learnt from it, and a warning where it is hardly above chance."""
    chance = 1 / job.recipe.data.num_classes
    print(f"teacher's validation accuracy: {100 * accuracy:.2f} %", flush=True)
    if accuracy < 2 * chance and accuracy < 0.9:
        print(f"warning: the teacher is hardly better than chance ({100 * chance:.2f} %)", file=sys.stderr, flush=True)


def _student_results(module: Distiller, trainer: L.Trainer, job: Job) -> dict[str, Any]:
    """Last epoch and best-on-validation epoch, apart: weights kept, tested once each."""
    train = {k.partition("/")[2]: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("train/")}

    def kept(file: str, epoch: int) -> dict[str, Any]:
        save_weights(module.student, job.folder / file)
        scores = {split: _evaluate(module, job, split) for split in ("val", "test")}
        return {"epoch": epoch, "weights": file, **scores}

    results: dict[str, Any] = {"train": train, "last": kept("student.safetensors", trainer.current_epoch)}
    monitored = [c for c in trainer.checkpoint_callbacks if getattr(c, "monitor", None)]
    path = Path(str(getattr(monitored[0], "best_model_path", ""))) if monitored else Path()
    if not path.is_file():  # a run whose folder was moved
        path = job.folder / "checkpoints" / "best.ckpt"
    if not monitored or not path.is_file():
        return results
    checkpoint = read_checkpoint(path)
    epoch = checkpoint["epoch"] + 1
    if epoch == trainer.current_epoch:
        results["best"] = results["last"]
    else:
        last = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        module.load_state_dict(checkpoint["state_dict"])
        results["best"] = kept("student-best.safetensors", epoch)
        module.load_state_dict(last)
    return results


def _measure(nets: dict[str, Net], job: Job) -> dict[str, dict[str, Any]]:
    """Size and speed of every model, on the device and at the batch size of the training."""
    data = job.recipe.data
    device = job.make_evaluator().strategy.root_device
    sizes = {role: size(net.model.cpu(), data.example(1)) for role, net in nets.items()}
    autocast = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(job.precision)
    batch = data.example(data.batch_size).to(device)
    speeds = speed({role: net.model for role, net in nets.items()}, batch, device, autocast)
    return {role: {"name": net.name, **asdict(sizes[role]), **asdict(speeds[role])} for role, net in nets.items()}


def run(job: Job) -> dict[str, Any]:
    """Runs the job and writes ``summary.json`` in its folder.

    Returns:
        What ``summary.json`` holds.
    """
    started = time.perf_counter()
    nets: dict[str, Net] = {}
    results: dict[str, dict[str, Any]] = {}
    teacher: Teacher | None = None
    if job.teacher is not None and job.source is not None:
        nets["teacher"], recipe = job.teacher, job.source.recipe

        def train(folder: Path) -> None:
            assert job.teacher is not None
            last = folder / "checkpoints" / "last.ckpt"
            module = _distiller(job.teacher, recipe, None)
            _fit(module, recipe, folder, f"teacher {job.teacher.name}", last if last.exists() else None)

        origin = obtain(job.teacher, job.source, train)
        print(
            f"teacher {job.teacher.name}: {summary.ORIGINS[origin['origin']]} {origin['path'] or ''}".rstrip(),
            flush=True,
        )
        judged = Distiller(job.teacher.model, Criterion(), job.recipe.data.num_classes)
        results["teacher"] = origin | {"val": _evaluate(judged, job, "val")}
        _say_how_good(job, results["teacher"]["val"]["acc"])
        teacher = _frozen(job.teacher, job.recipe.criterion)
    if job.student is not None:
        nets["student"] = job.student
        module = _distiller(job.student, job.recipe, teacher)
        label = f"student {job.student.name}"
        trainer = _fit(module, job.recipe, job.folder, label, _checkpoint_to_resume(job))
        results["student"] = _student_results(module, trainer, job)
    if job.teacher is not None:
        results["teacher"]["test"] = _evaluate(judged, job, "test")
    for role, measured in _measure(nets, job).items():
        results[role] |= measured
    report: dict[str, Any] = {
        **results,
        "ratios": summary.ratios(results),
        "data": {"name": job.config["data"]["name"], **job.recipe.data.describe()},
        "seed": job.recipe.seed,
        "precision": job.precision,
        "wall_s": round(time.perf_counter() - started, 1),
        "resumed": job.resume is not None,
        "versions": environment.versions(),
        "hardware": environment.hardware(job.make_evaluator().strategy.root_device),
        "git_commit": environment.git_commit(Path(__file__).parent),
        "command": environment.command(),
        "config": job.config,
    }
    summary.write(report, job.folder)
    summary.show(report, job.folder)
    return report
