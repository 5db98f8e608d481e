"""The one place that turns a configuration into objects. Everything further in takes objects."""

import inspect
import logging
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from distill.callbacks import EpochLine, FiniteLoss, GracefulStop
from distill.check import RESERVED
from distill.checkpoints import AtomicCheckpointIO
from distill.criterion import Criterion, Term
from distill.data import DataModule
from distill.data.loader import usable_cores
from distill.errors import UserError, first_line, nearest
from distill.fingerprint import shaped_by
from distill.measure import size
from distill.rehearsal import rehearse
from distill.run import Job, Net, Recipe
from distill.schedulers import lightning_scheduler
from distill.taps import Anatomy, dissect
from distill.teachers import TeacherSource


def _root_cause(error: BaseException) -> BaseException:
    """The error that the wrappers around it hide."""
    while not isinstance(error, UserError):
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is None:
            break
        error = cause
    return error


def make(node: dict[str, Any], path: str, **given: Any) -> Any:
    """Instantiates one node.

    Args:
        node: ``_target_`` and its arguments.
        path: the node's dotted key, for error messages.
        given: arguments from elsewhere; those that the target takes and the node does not set are passed on.

    Raises:
        UserError: a target that cannot be imported, arguments it does not take, values it refuses.
    """
    name = node["_target_"]
    try:
        target = get_object(name)
    except Exception as error:
        raise UserError(f"{path}._target_: cannot import '{name}': {first_line(_root_cause(error))}") from error
    try:
        known = dict(inspect.signature(target).parameters)
    except ValueError:  # a builtin without a signature
        known = {}
    anything = not known or any(p.kind is p.VAR_KEYWORD for p in known.values())
    for key in node:
        if key not in RESERVED and not anything and key not in known:
            raise UserError(f"{path}: {name} takes no '{key}'; {nearest(key, known)}")
    extra = {key: value for key, value in given.items() if key in known and key not in node}
    try:
        return instantiate(node, **extra, _convert_="all")
    except InstantiationException as error:
        cause = _root_cause(error)
        if isinstance(cause, UserError):
            raise cause from error
        raise UserError(f"{path}: {name}: {first_line(cause)}") from error


def _precision(asked: Any, accelerator: str) -> Any:
    """``auto`` is bf16-mixed where the hardware computes in bf16, and 32-true elsewhere."""
    if asked != "auto":
        return asked
    if accelerator != "cpu" and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    return "bf16-mixed" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "32-true"


def _check_device(accelerator: str, devices: Any) -> None:
    """A UserError for a device that is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    names = ", ".join(name for name, found in there.items() if found)
    wanted = {"gpu": "cuda" if not there["mps"] else "mps"}.get(accelerator, accelerator)
    if wanted in there and not there[wanted]:
        raise UserError(f"trainer.accelerator={accelerator}: no such device on this machine; there is: {names}")
    count = torch.cuda.device_count()
    uses_cuda = wanted == "cuda" or (wanted == "auto" and there["cuda"])
    if uses_cuda and isinstance(devices, int) and devices > count:
        raise UserError(f"trainer.devices={devices}: this machine has {count} CUDA device(s)")


def _quiet() -> None:
    """Silences what Lightning says about choices that are deliberate here."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*The number of training batches .* is smaller than the logging interval.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*Experiment logs directory .* exists and is not empty.*",
        ".*is deprecated and will be removed.*",
        ".*LeafSpec.* is deprecated.*",
        ".*Found .* module\\(s\\) in eval mode at the start of training.*",
    ):
        warnings.filterwarnings("ignore", message)


def _trainer_factory(cfg: dict[str, Any], precision: Any) -> Callable[..., L.Trainer]:
    """``make_trainer(folder, label, **changes)``: a Trainer that keeps its checkpoints and logs in ``folder``."""

    def make_trainer(folder: Path, label: str, **changes: Any) -> L.Trainer:
        node = {**cfg["trainer"], "precision": precision, **changes}
        if node["enable_progress_bar"] is None:
            node["enable_progress_bar"] = sys.stderr.isatty()
        folder.mkdir(parents=True, exist_ok=True)
        checkpoints = folder / "checkpoints"
        loggers = [
            make(logger, f"logger.{name}", save_dir=str(folder), tracking_uri=None)
            for name, logger in cfg["logger"].items()
        ]
        callbacks = [
            make(callback, f"callbacks.{name}", dirpath=str(checkpoints))
            for name, callback in cfg["callbacks"].items()
            if callback and (loggers or "LearningRateMonitor" not in callback["_target_"])
        ]
        callbacks += [FiniteLoss(), GracefulStop(checkpoints / "last.ckpt")]
        callbacks += [] if node["enable_progress_bar"] else [EpochLine(label)]
        trainer = make(
            node, "trainer", callbacks=callbacks, logger=loggers or False, plugins=[AtomicCheckpointIO()],
            default_root_dir=str(folder), num_sanity_val_steps=0, enable_model_summary=False,
            use_distributed_sampler=False,
        )  # fmt: skip
        assert isinstance(trainer, L.Trainer)
        return trainer

    return make_trainer


def _evaluator(trainer: dict[str, Any], precision: Any) -> L.Trainer:
    """A Trainer for validating and testing: one device, nothing written."""
    keep = {key: trainer[key] for key in ("accelerator", "limit_val_batches", "limit_test_batches")}
    return L.Trainer(
        **keep,
        devices=1,
        precision=precision,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def _data(cfg: dict[str, Any]) -> DataModule:
    """The data, loaded, checked and split."""
    node = {key: value for key, value in cfg["data"].items() if key not in ("name", "root")}
    node["source"] = partial(make, node["source"], "data.source")
    node["transform"] = make(node["transform"], "data.transform") if node["transform"] else None
    try:
        data = DataModule(**node, seed=cfg["seed"])
        data.prepare_data()
        data.setup()
    except (TypeError, ValueError) as error:
        raise UserError(f"data: {error}") from error
    return data


def _net(node: dict[str, Any], role: str, data: DataModule, example: torch.Tensor, channels_last: bool) -> Net:
    """A model that fits the data, and what a dry forward sees of it."""
    arguments = {key: value for key, value in node.items() if key not in ("checkpoint", "recipe")}
    asked = arguments.get("num_classes")
    if asked is not None and asked != data.num_classes:
        raise UserError(f"{role}.num_classes={asked} disagrees with the data, which have {data.num_classes} classes")
    facts = {"num_classes": data.num_classes, "in_channels": data.in_channels, "image_size": data.image_size}
    model = make(arguments, role, **facts)
    if not isinstance(model, torch.nn.Module):
        raise UserError(f"{role}: {node['_target_']} gave a {type(model).__name__}, not a torch.nn.Module")
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    name = str(arguments.get("name") or arguments["_target_"].rpartition(".")[2])
    anatomy: Anatomy = dissect(model, example, f"the {'student' if role == 'model' else 'teacher'} {name}")
    if anatomy.logits[1] != data.num_classes:
        raise UserError(
            f"{anatomy.name} gives {anatomy.logits[1]} logits, and the data have {data.num_classes} classes"
        )
    return Net(name, model, anatomy)


def _criterion(cfg: dict[str, Any]) -> Criterion:
    terms = [
        Term(name, make(term["loss"], f"kd.terms.{name}.loss"), term["weight"], term["student"], term["teacher"])
        for name, term in cfg["kd"]["terms"].items()
    ]
    return Criterion(cfg["kd"]["alpha"], terms, cfg["kd"]["label_smoothing"])


def _learning(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """``optimizer`` and ``scheduler`` of a recipe, tried on one parameter so that bad values show before training."""
    optimizer = make(node["optimizer"], f"{prefix}optimizer")
    scheduler = make(node["scheduler"], f"{prefix}scheduler") if node["scheduler"] else None
    for name in ("optimizer", "scheduler"):
        try:
            tried = optimizer([torch.nn.Parameter(torch.zeros(1))])
            if name == "scheduler" and scheduler is not None:
                lightning_scheduler(scheduler, tried, total_steps=1000)
        except (TypeError, ValueError) as error:
            raise UserError(f"{prefix}{name}: {error}") from error
    return {"optimizer": optimizer, "scheduler": scheduler}


def _threads(nets: list[Net], example: torch.Tensor, batch_size: int) -> int:
    """Threads of the CPU that pay: one where a training step is so small that threads mostly wait for one another.

    The bound is 10⁹ multiply-accumulates per step, counted as three forwards. On two shared cores the digits job
    took several times as long with two threads as with one whenever another process ran.
    """
    macs = max(size(net.model, example[:1]).macs for net in nets)
    return 1 if 3 * macs * batch_size < 1e9 else usable_cores()


def _announce(criterion: Criterion) -> None:
    """Says which layers the terms read, where they were chosen."""
    for term in criterion.terms:
        pairs = zip(criterion.student_layers[term.name], criterion.teacher_layers[term.name], strict=True)
        for student, teacher in pairs:
            print(f"term {term.name}: student {student} <- teacher {teacher}", flush=True)


def build(config: DictConfig, folder: Path) -> Job:
    """All objects of one run, every configuration error found before any training.

    Args:
        config: composed and checked.
        folder: the run's folder.

    Raises:
        UserError: whatever of the configuration does not fit the code, the data or the machine.
    """
    cfg: Any = OmegaConf.to_container(config, resolve=True)
    _quiet()
    _check_device(cfg["trainer"]["accelerator"], cfg["trainer"]["devices"])
    precision = _precision(cfg["trainer"]["precision"], cfg["trainer"]["accelerator"])
    make_trainer = _trainer_factory(cfg, precision)
    only_teacher = cfg["only"] is not None

    data = _data(cfg)
    example = data.example(4)
    student: Net | None = None
    teacher: Net | None = None
    source: TeacherSource | None = None
    criterion = _criterion(cfg)
    if criterion.terms or only_teacher:
        node, recipe = cfg["teacher"], cfg["teacher"]["recipe"]
        L.seed_everything(recipe["seed"], workers=True, verbose=False)
        if recipe["max_epochs"] == 0 and not node.get("checkpoint") and not node.get("pretrained"):
            raise UserError(
                "teacher.recipe.max_epochs=0 takes the teacher as it is, and this one is not pretrained: "
                "set teacher.pretrained=true, give teacher.checkpoint, or train it"
            )
        teacher = _net(node, "teacher", data, example, cfg["channels_last"])
        source = TeacherSource(
            checkpoint=Path(node["checkpoint"]) if node.get("checkpoint") else None,
            store=Path(cfg["teachers_dir"]),
            label=f"{teacher.name}-{cfg['data']['name']}",
            shaped_by=shaped_by(cfg, data, precision),
            recipe=Recipe(
                data=data.with_options(seed=recipe["seed"], batch_size=recipe["batch_size"]),
                **_learning(recipe, "teacher.recipe."),
                make_trainer=partial(
                    make_trainer, max_epochs=recipe["max_epochs"], gradient_clip_val=recipe["gradient_clip_val"]
                ),
                criterion=Criterion(label_smoothing=recipe["label_smoothing"]),
                seed=recipe["seed"],
            ),
            max_epochs=recipe["max_epochs"],
        )
    L.seed_everything(cfg["seed"], workers=True, verbose=False)  # the same student with and without a teacher
    if not only_teacher:
        student = _net(cfg["model"], "model", data, example, cfg["channels_last"])
        criterion.build(student.anatomy, teacher.anatomy if teacher else None, data.num_train)
        if teacher:
            rehearse(criterion, student, teacher, example)
            _announce(criterion)
    nets = [net for net in (student, teacher) if net]
    torch.set_num_threads(cfg["threads"] or _threads(nets, example, cfg["data"]["batch_size"]))
    return Job(
        folder=folder,
        student=student,
        teacher=teacher,
        source=source,
        recipe=Recipe(
            data=data,
            **_learning(cfg),
            make_trainer=make_trainer,
            criterion=criterion,
            seed=cfg["seed"],
        ),
        make_evaluator=partial(_evaluator, cfg["trainer"], precision),
        config=OmegaConf.to_container(config, resolve=True, enum_to_str=True),
        resume=cfg["resume"],
        precision=str(precision),
    )
