"""The main job on objects: get the teacher, train the student, test both once, measure, keep the results."""

import json
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from distill.config.schedules import count
from distill.distillation.ensemble import Ensemble
from distill.distillation.teacher import Teacher
from distill.distillation.teacher_cache import CachedTeacher
from distill.distillation.teacher_store import TeacherSource, obtain
from distill.training import summary
from distill.training.module import Distiller
from distill.training.mutual import MutualDistiller
from distill.training.plan import Job, Lesson, Net, Recipe
from distill.training.quantization import Int8
from distill.training.scoring import both, evaluate, judged, measure, teacher_scores
from distill.utils import distributed, environment
from distill.utils.checkpoints import read_checkpoint, save_weights
from distill.utils.errors import UserError, first_line


def _distiller(lesson: Lesson, teacher: Teacher | Ensemble | None) -> Distiller:
    recipe, criterion = lesson.recipe, lesson.recipe.criterion
    settings: dict[str, Any] = {
        "num_classes": recipe.data.num_classes,
        "optimizer": recipe.optimizer,
        "scheduler": recipe.scheduler,
        "seed": recipe.seed,
    }
    if lesson.peers:
        nets = (lesson.student, *lesson.peers)
        embedded = any(criterion.reads(f"{side}_embedding") for side in ("student", "teacher"))
        heads = [net.anatomy.head if embedded else None for net in nets]
        return MutualDistiller([net.model for net in nets], lesson.mutual, heads, **settings)
    head = lesson.student.anatomy.head if criterion.reads("student_embedding") else None
    int8 = Int8(lesson.student.model) if lesson.int8 else None
    return Distiller(
        lesson.student.model,
        criterion,
        teacher=teacher,
        head=head,
        int8=int8,
        compiled=lesson.compiled,
        captured=lesson.captured and int8 is None,
        **settings,
    )


class Trained(NamedTuple):
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


def _strategy(module: Distiller, asked: str) -> dict[str, Any]:
    """For several processes. DDP looks for parameters without a gradient only where there may be some."""
    if not distributed.several():
        return {}
    if asked == "fsdp":
        from distill.training.acceleration import sharding

        return {"strategy": sharding.Shared()}
    own = any(p.requires_grad for p in module.criterion.parameters())
    wrapped = hasattr(module.student, "adopt")
    unused = own or wrapped or not module.criterion.teaches_student
    return {"strategy": "ddp_find_unused_parameters_true" if unused else "ddp"}


def _within_epoch(checkpoint: dict[str, Any]) -> int | None:
    """The epoch, counted from 1, in whose middle a checkpoint was written; None: at an epoch's end."""
    progress = checkpoint.get("loops", {}).get("fit_loop", {}).get("epoch_loop.batch_progress")
    return None if progress is None or progress["is_last_batch"] else checkpoint["epoch"] + 1


def _fit(module: Distiller, recipe: Recipe, folder: Path, label: str, resume: Path | None, **changes: Any) -> Trained:
    """Trains; continues from ``resume``.

    A training that had finished (early stopping included) stays as it was, whichever of its checkpoints is given.
    """
    done = folder / "finished.json"
    if resume is not None and done.is_file():
        module.load_state_dict(read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"])
        return Trained(**json.loads(done.read_text()))
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
    trained = Trained(trainer.current_epoch, metrics, best, begun == trainer.current_epoch)
    module.gather()
    distributed.align(module)
    if not distributed.is_first():
        return trained
    part = done.with_suffix(".part")
    part.write_text(json.dumps(trained._asdict()))
    part.replace(done)
    return trained


def _frozen(net: Net, lesson: Lesson, features: bool = True) -> Teacher:
    """A trained model as a teacher; ``features``: whether the terms read more of it than its logits."""
    criterion = lesson.recipe.criterion
    head = net.anatomy.head if features and criterion.reads("teacher_embedding") else None
    return Teacher(net.model, criterion.taps("teacher") if features else (), head, lesson.answers_in(net.model))


def _last(folder: Path) -> Path | None:
    """``last.ckpt`` of a training that was begun in ``folder``, readable."""
    path = folder / "checkpoints" / "last.ckpt"
    if not path.exists():
        return None
    read_checkpoint(path)
    return path


def _checkpoint_to_resume(job: Job, lesson: Lesson) -> Path | None:
    """Where a lesson of a resumed run continues; None: at its start."""
    if job.resume is None:
        return None
    given = Path(job.resume)
    if lesson is job.lessons[-1] and given.is_file():
        read_checkpoint(given)
        return given
    return _last(lesson.folder)


def _prepare(module: Distiller, lesson: Lesson, resumed: bool) -> None:
    """Runs the preparation of every term that has one, each a training of its own in ``preparation/<term>``."""
    modes = [(part, part.training) for part in module.student.modules()]
    for term in lesson.recipe.criterion.terms:
        if term.preparation is None:
            continue
        folder = lesson.folder / "preparation" / term.name
        epochs = count(term.preparation.epochs, lesson.max_epochs)
        label = f"preparation of {term.name} for {lesson.role} {lesson.student.name}"
        print(f"{label}: {epochs} epoch{'s' if epochs > 1 else ''}", flush=True)
        module.criterion.prepare(term.name)
        last = _last(folder) if resumed else None
        _fit(module, lesson.recipe, folder, label, last, stop_early=False, max_epochs=epochs)
        for part, training in modes:  # one that does not train the student leaves it in eval mode
            part.training = training


def _teach(lesson: Lesson, teacher: Teacher | Ensemble | None, job: Job) -> tuple[Distiller, Trained]:
    """One lesson, its preparations first, unless the checkpoint to continue from has them behind it."""
    module = _distiller(lesson, teacher)
    checkpoint = _checkpoint_to_resume(job, lesson)
    if checkpoint is None:
        _prepare(module, lesson, resumed=job.resume is not None)
    module.criterion.prepare(None)
    label = f"{lesson.role.replace('_', ' ')} {lesson.student.name}"
    trained = _fit(module, lesson.recipe, lesson.folder, label, checkpoint)
    for report in _cached(teacher):
        if report["found"]:
            found, begun, drift = report["found"], report["begun"], 100 * report["drift"]
            print(f"teacher cache: {found} of {begun} epochs were there, drift {drift:.2f} %", flush=True)
    return module, trained


def _cached(teacher: Teacher | Ensemble | None) -> list[dict[str, Any]]:
    """What the caches of a lesson's teachers gave."""
    if teacher is None:
        return []
    members = teacher.teachers if isinstance(teacher, Ensemble) else (teacher,)
    return [member.report() for member in members if isinstance(member, CachedTeacher)]


def _say_how_good(name: str, job: Job, accuracy: float) -> None:
    """A teacher's accuracy before anything is learnt from it, and a warning where it is hardly above chance."""
    chance = 1 / job.data.num_classes
    print(f"{name}'s validation accuracy: {100 * accuracy:.2f} %", flush=True)
    if accuracy < 2 * chance and accuracy < 0.9:
        print(f"warning: the {name} is hardly better than chance ({100 * chance:.2f} %)", file=sys.stderr, flush=True)


def _student_results(module: Distiller, trained: Trained, lesson: Lesson, job: Job) -> dict[str, Any]:
    """Last epoch and best-on-validation epoch, apart: weights kept, tested once each."""
    train = {k.partition("/")[2]: v for k, v in trained.metrics.items() if k.startswith("train/")}

    def kept(file: str, epoch: int) -> dict[str, Any]:
        if distributed.is_first():
            save_weights(module.student, lesson.folder / file)
        module.start_epoch(epoch - 1, lesson.max_epochs)
        int8 = {"int8": both(module, job)} if module.int8 is not None else {}
        if module.int8 is not None:
            module.int8.on = False  # the weights are float, and tested as such
        return {"epoch": epoch, "weights": file, **both(module, job), **int8}

    results: dict[str, Any] = {"train": train, "last": kept("student.safetensors", trained.epoch)}
    if trained.partial_train:
        results["partial_train"] = True
    if trained.best is None:
        return results
    path = Path(trained.best)
    if not path.is_file():  # a run whose folder was moved
        path = lesson.folder / "checkpoints" / "best.ckpt"
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


def _peer_results(net: Net, role: str, lesson: Lesson, trained: Trained, job: Job) -> dict[str, Any]:
    """A student beside the first one: its last epoch."""
    file = f"{role}.safetensors"
    if distributed.is_first():
        save_weights(net.model, lesson.folder / file)
    scores = {split: evaluate(judged(net, job), job, split) for split in ("val", "test")}
    return {"last": {"epoch": trained.epoch, "weights": file, **scores}}


def _obtain_teachers(job: Job) -> tuple[dict[str, Net], dict[str, dict[str, Any]]]:
    """Every teacher trained, by role, and where it comes from with its validation accuracy."""
    nets: dict[str, Net] = {}
    results: dict[str, dict[str, Any]] = {}
    for i, (net, source) in enumerate(job.teachers):
        role = "teacher" if i == 0 else f"teacher_{i + 1}"

        def train(folder: Path, net: Net = net, source: TeacherSource = source) -> None:
            lesson = Lesson(
                "teacher", net, source.recipe, folder, source.max_epochs, compiled=(source.compiled, False),
                captured=source.captured,
            )  # fmt: skip
            _fit(_distiller(lesson, None), source.recipe, folder, f"teacher {net.name}", _last(folder))

        origin = obtain(net, source, train)
        print(f"teacher {net.name}: {summary.ORIGINS[origin['origin']]} {origin['path'] or ''}".rstrip(), flush=True)
        results[role] = origin | {"val": teacher_scores(net, job, "val")}
        _say_how_good("teacher", job, results[role]["val"]["acc"])
        nets[role] = net
    return nets, results


def _teacher_of(lesson: Lesson, previous: Net | None, job: Job) -> Teacher | Ensemble | None:
    """The lesson's teacher: the student of the lesson before, or the first ones (an ensemble where several)."""
    criterion = lesson.recipe.criterion
    nets = [previous] if previous else [net for net, _ in job.teachers]
    if not nets or lesson.peers:
        return None
    adopt: Any = getattr(lesson.student.model, "adopt", None)
    if adopt is not None:
        try:
            adopt(nets[0].model)
        except ValueError as error:
            raise UserError(f"kd.student_wrapper: {error}") from error
    criterion.calibrate(nets[0].model, nets[0].anatomy)
    frozen = [_frozen(net, lesson, features=i == 0) for i, net in enumerate(nets)]
    return job.combine(list(lesson.cache.wrap(frozen)) if lesson.cache else frozen)


def run(job: Job) -> dict[str, Any]:
    """Runs the job and writes ``results.json`` in its folder.

    Where the job has several processes all of them train and evaluate, and the first one does the rest.

    Returns:
        What ``results.json`` holds.
    """
    started = time.perf_counter()
    nets, results = _obtain_teachers(job)
    taught: list[tuple[Lesson, Distiller, Trained]] = []
    for lesson in job.lessons:
        previous = taught[-1][0].student if taught else None
        taught.append((lesson, *_teach(lesson, _teacher_of(lesson, previous, job), job)))
    for lesson, module, trained in taught:  # no test before the last training
        nets[lesson.role] = lesson.student
        results[lesson.role] = _student_results(module, trained, lesson, job)
        if cached := _cached(module.teacher):
            results[lesson.role]["teacher_cache"] = cached
        for i, net in enumerate(lesson.peers, 1):
            nets[f"peer_{i}"] = net
            results[f"peer_{i}"] = _peer_results(net, f"peer_{i}", lesson, trained, job)
    for role in [role for role in results if role.startswith("teacher")]:
        results[role]["test"] = teacher_scores(nets[role], job, "test")
    if not distributed.is_first():
        return results
    for role, measured in measure(nets, job).items():
        results[role] |= measured
    report: dict[str, Any] = {
        **results,
        "ratios": summary.ratios(results),
        "data": {"name": job.config["data"]["name"], **job.data.describe()},
        "seed": job.seed,
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
