"""The one place that turns a configuration into objects. Everything further in takes objects."""

import json
import os
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import lightning.pytorch as L
import torch
from omegaconf import DictConfig, OmegaConf

from distill.config.instantiate import instantiate
from distill.config.schedules import Schedule, is_schedule, parse
from distill.config.validation import TEACHER_KEYS, weights_of
from distill.data import DataModule
from distill.distillation.criterion import Criterion
from distill.distillation.dry_run import dry_run
from distill.distillation.ensemble import Ensemble
from distill.distillation.model_info import ModelInfo, NamedModel, inspect_model
from distill.distillation.teacher import Teacher
from distill.distillation.teacher_cache import CacheOptions, CachePlan, plan
from distill.distillation.teacher_store import TeacherSource
from distill.distillation.terms import Pretraining, Term
from distill.training.acceleration import policy
from distill.training.fingerprint import fingerprint_inputs
from distill.training.plan import Experiment, Recipe, TrainingStage
from distill.training.schedulers import lightning_scheduler
from distill.training.trainer import check_device, evaluator, quiet, trainer_factory, uses_cuda
from distill.utils import distributed
from distill.utils.checkpoints import load_weights
from distill.utils.cpu import usable_cores
from distill.utils.errors import UserError
from distill.utils.profiling import size

SEED_STEP = 1000  # between the seeds of the several students of one run


_loaded: dict[str, DataModule] = {}  # the last data, for the next job of a sweep in this process


def load_data(cfg: dict[str, Any]) -> DataModule:
    """The data, loaded, checked and split; the job before of a sweep may have loaded them."""
    node = {key: value for key, value in cfg["data"].items() if key not in ("name", "root")}
    key = json.dumps([value for name, value in sorted(node.items()) if name != "batch_size"], default=str)
    if key in _loaded:
        return _loaded[key].with_options(seed=cfg["seed"], batch_size=cfg["data"]["batch_size"])
    _loaded.clear()
    node["source"] = partial(instantiate, node["source"], "data.source")
    node["transform"] = instantiate(node["transform"], "data.transform") if node["transform"] else None
    try:
        data = DataModule(**node, seed=cfg["seed"])
        data.prepare_data()
        data.setup()
    except (TypeError, ValueError) as error:
        raise UserError(f"data: {error}") from error
    _loaded[key] = data
    return data


class ImageFacts(Protocol):
    """What a model must fit: a DataModule, or what a finished run remembers of one."""

    @property
    def num_classes(self) -> int:
        """How many logits."""

    @property
    def in_channels(self) -> int:
        """Channels of every image."""

    @property
    def image_size(self) -> int:
        """Height of every image in pixels."""

    def example(self, n: int) -> torch.Tensor:
        """A batch of ``n`` inputs."""


def make_net(node: dict[str, Any], key: str, who: str, data: ImageFacts, channels_last: bool) -> NamedModel:
    """A model that fits the data, and what a dry forward sees of it.

    Args:
        node: its configuration.
        key: the node's dotted key.
        who: how error messages call it ("the teacher"); its name follows.
        data: what it must fit.
        channels_last: memory format.
    """
    arguments = {k: value for k, value in node.items() if k not in TEACHER_KEYS}
    asked = arguments.get("num_classes")
    if asked is not None and asked != data.num_classes:
        raise UserError(f"{key}.num_classes={asked} disagrees with the data, which have {data.num_classes} classes")
    facts = {"num_classes": data.num_classes, "in_channels": data.in_channels, "image_size": data.image_size}
    model = instantiate(arguments, key, **facts)
    if not isinstance(model, torch.nn.Module):
        raise UserError(f"{key}: {node['_target_']} gave a {type(model).__name__}, not a torch.nn.Module")
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    name = str(arguments.get("name") or arguments["_target_"].rpartition(".")[2])
    model_info: ModelInfo = inspect_model(model, data.example(4), f"{who} {name}")
    if model_info.logits[1] != data.num_classes:
        raise UserError(
            f"{model_info.name} gives {model_info.logits[1]} logits, and the data have {data.num_classes} classes"
        )
    return NamedModel(name, model, model_info)


def wrapped(cfg: dict[str, Any], student: NamedModel, teacher: NamedModel | None, example: torch.Tensor) -> NamedModel:
    """The student inside ``kd.student_wrapper``, where the strategy changes the model itself (SimKD)."""
    node = cfg["kd"]["student_wrapper"]
    if not node:
        return student
    if teacher is None:
        raise UserError("kd.student_wrapper needs a teacher, and there is none")
    wrapper = instantiate(node, "kd.student_wrapper")
    try:
        model = wrapper(student.model, student.model_info, teacher.model, teacher.model_info, example)
    except ValueError as error:
        raise UserError(f"kd.student_wrapper: {error}") from error
    if cfg["channels_last"]:
        model = model.to(memory_format=torch.channels_last)
    return NamedModel(student.name, model, inspect_model(model, example, student.model_info.name))


def _scheduled(node: dict[str, Any], key: str, max_epochs: int) -> tuple[Any, dict[str, Schedule]]:
    """An object whose arguments may follow schedules, made with their first values, and these schedules.

    It is made once more with their last values, so that one out of range shows now.
    """
    schedules = {name: parse(value, f"{key}.{name}") for name, value in node.items() if is_schedule(value)}
    for epoch in (max_epochs - 1, 0) if schedules else (0,):
        present = {name: schedule.at(epoch, max_epochs) for name, schedule in schedules.items()}
        made = instantiate({**node, **present}, key)
    return made, schedules


def criterion_of(cfg: dict[str, Any]) -> Criterion:
    """The criterion that a configuration describes, not yet built."""
    kd, max_epochs = cfg["kd"], cfg["trainer"]["max_epochs"]
    terms = []
    for name, term in kd["terms"].items():
        key = f"kd.terms.{name}"
        loss, schedules = _scheduled(term["loss"], f"{key}.loss", max_epochs)
        weight = parse(term["weight"], f"{key}.weight") if is_schedule(term["weight"]) else term["weight"]
        phase = term["pretraining"] and Pretraining(**term["pretraining"])
        terms.append(
            Term(name, loss, weight, term["student"], term["teacher"], term["standardize"], phase or None, schedules)
        )
    if kd["standardize"] and not any("teacher_logits" in term.all_reads for term in terms):
        raise UserError("kd.standardize=true standardises student's and teacher's logits, and no term reads both")
    alpha = parse(kd["alpha"], "kd.alpha") if is_schedule(kd["alpha"]) else kd["alpha"]
    return Criterion(alpha, terms, kd["label_smoothing"])


def _learning(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """``optimizer`` and ``scheduler`` of a recipe, tried on one parameter so that bad values show before training."""
    optimizer = instantiate(node["optimizer"], f"{prefix}optimizer")
    scheduler = instantiate(node["scheduler"], f"{prefix}scheduler") if node["scheduler"] else None
    for name in ("optimizer", "scheduler"):
        try:
            tried = optimizer([torch.nn.Parameter(torch.zeros(1))])
            if name == "scheduler" and scheduler is not None:
                lightning_scheduler(scheduler, tried, total_steps=1000)
        except (TypeError, ValueError) as error:
            raise UserError(f"{prefix}{name}: {error}") from error
    return {"optimizer": optimizer, "scheduler": scheduler}


def _threads(nets: list[NamedModel], example: torch.Tensor, batch_size: int) -> int:
    """Threads of the CPU that pay: one where a training step is so small that threads mostly wait for one another.

    The bound is 10⁹ multiply-accumulates per step, counted as three forwards. On two shared cores the digits job
    took several times as long with two threads as with one whenever another process ran.
    """
    macs = max(size(net.model, example[:1]).macs for net in nets)
    share = usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return 1 if 3 * macs * batch_size < 1e9 else max(1, share)


def _announce(criterion: Criterion, role: str) -> None:
    """Says which layers the terms read."""
    for term in criterion.terms:
        pairs = zip(criterion.student_layers[term.name], criterion.teacher_layers[term.name], strict=True)
        for student, teacher in pairs:
            print(f"term {term.name}: {role.replace('_', ' ')} {student} <- teacher {teacher}", flush=True)


def _source(
    cfg: dict[str, Any], node: dict[str, Any], net: NamedModel, data: DataModule, make_trainer: Any
) -> TeacherSource:
    """Where a teacher comes from."""
    recipe = node["recipe"]
    precision, compiled = policy.choose(
        cfg, net.model, f"teacher {net.name}", data, recipe["batch_size"], recipe["max_epochs"]
    )
    return TeacherSource(
        checkpoint=Path(node["checkpoint"]) if node.get("checkpoint") else None,
        store=Path(cfg["teachers_dir"]),
        label=f"{net.name}-{cfg['data']['name']}",
        fingerprint_inputs=fingerprint_inputs({**cfg, "teacher": node}, data, precision),
        precision=precision,
        compiled=compiled,
        cuda_graph=cfg["cuda_graph"],
        recipe=Recipe(
            data=data.with_options(seed=recipe["seed"], batch_size=recipe["batch_size"]),
            **_learning(recipe, "teacher.recipe."),
            make_trainer=partial(
                make_trainer,
                max_epochs=recipe["max_epochs"],
                gradient_clip_val=recipe["gradient_clip_val"],
                precision=precision,
            ),
            criterion=Criterion(label_smoothing=recipe["label_smoothing"]),
            seed=recipe["seed"],
            strategy=cfg["trainer"]["strategy"],
        ),
        max_epochs=recipe["max_epochs"],
    )


def _teachers(cfg: dict[str, Any], data: DataModule, make_trainer: Any) -> tuple[tuple[NamedModel, TeacherSource], ...]:
    """The main teacher and, where the strategy has several, the others; all share the recipe."""
    recipe = cfg["teacher"]["recipe"]
    more = [
        {"checkpoint": None, **node, "recipe": {**recipe, **(node.get("recipe") or {})}}
        for node in cfg["kd"]["teachers"] or []
    ]
    made: list[tuple[NamedModel, TeacherSource]] = []
    for i, node in enumerate([cfg["teacher"], *more]):
        key, recipe = f"kd.teachers.{i - 1}" if i else "teacher", node["recipe"]
        L.seed_everything(recipe["seed"], workers=True, verbose=False)
        if recipe["max_epochs"] == 0 and not node.get("checkpoint") and not node.get("pretrained"):
            raise UserError(
                "teacher.recipe.max_epochs=0 takes the teacher as it is, and this one is not pretrained: "
                f"set {key}.pretrained=true, give {key}.checkpoint, or train it"
            )
        net = make_net(node, key, "the teacher", data, cfg["channels_last"])
        source = _source(cfg, node, net, data, make_trainer)
        if any(source.checkpoint is None and source.folder == other.folder for _, other in made):
            raise UserError(
                f"{key} is a teacher that is there already: give it another recipe "
                "({model: <name>, recipe: {seed: 1}}), another model or a checkpoint"
            )
        made.append((net, source))
    return tuple(made)


def combiner(cfg: dict[str, Any], teachers: int) -> Callable[[list[Teacher]], Teacher | Ensemble]:
    """Makes the stage's teacher of its teachers: the only one, or an ensemble."""
    node = cfg["kd"]["ensemble"]
    if teachers < 2:
        return lambda found: found[0]
    if not node:
        raise UserError("kd.teachers names several teachers, and kd.ensemble does not say how they are combined")
    mean, schedules = _scheduled(node, "kd.ensemble", cfg["trainer"]["max_epochs"])
    if hasattr(mean, "check"):
        mean.check(teachers)
    return lambda found: found[0] if len(found) == 1 else Ensemble(found, mean, schedules)


def _students(cfg: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """The chain of students: role, key and node of each; the last one is what the run is about."""
    kd = cfg["kd"]
    chain = [(f"assistant_{i + 1}", f"kd.assistants.{i}", node) for i, node in enumerate(kd["assistants"] or [])]
    chain += [(f"generation_{i + 1}", "model", cfg["model"]) for i in range(kd["generations"] - 1)]
    return [*chain, ("student", "model", cfg["model"])]


def _stages(
    cfg: dict[str, Any], data: DataModule, teacher: NamedModel | None, make_trainer: Any, folder: Path
) -> tuple[TrainingStage, ...]:
    """Every training of a student, each with the criterion that fits it and its own teacher."""
    learning = _learning(cfg)
    data = data.with_options(cycle=cfg["cache"]["cycle"])
    stages: list[TrainingStage] = []
    chain = _students(cfg)
    for place, (role, key, node) in enumerate(chain):
        first = SEED_STEP * (len(chain) - 1 - place)  # the student itself starts as it would alone
        criterion = criterion_of(cfg)
        L.seed_everything(cfg["seed"] + first, workers=True, verbose=False)
        student = make_net(node, key, f"the {role.replace('_', ' ')}", data, cfg["channels_last"])
        student = wrapped(cfg, student, teacher, data.example(4))
        who = role.replace("_", " ")
        int8 = role == "student" and cfg["quantize"] is not None
        epochs, eager = cfg["trainer"]["max_epochs"], int8 or cfg["kd"]["peers"] is not None
        precision, compiled = policy.choose(
            cfg,
            student.model,
            f"{who} {student.name}",
            data,
            data.batch_size,
            epochs,
            teacher.model if teacher else None,
            eager,
        )
        trainer = partial(make_trainer, precision=precision)
        strategy = cfg["trainer"]["strategy"]
        recipe = Recipe(
            data, **learning, make_trainer=trainer, criterion=criterion, seed=cfg["seed"], strategy=strategy
        )
        where = folder if role == "student" else folder / role
        if role == "student" and cfg["init"]:
            load_weights(student.model, weights_of(cfg["init"]), student.model_info.name)
        stage = TrainingStage(role, student, recipe, where, epochs, int8=int8, precision=precision)
        answers_in = policy.answering(cfg, data, data.batch_size)
        stage = replace(
            stage,
            compiled=(compiled, compiled),
            cuda_graph=cfg["cuda_graph"],
            prefetch=cfg["prefetch"],
            answers_in=answers_in,
        )
        if cfg["kd"]["peers"] is not None:
            stage = _mutual(cfg, stage, data)
        else:
            _build_criterion(criterion, student, teacher, data, role)
            count = 1 + len(cfg["kd"]["teachers"] or []) if not stages else 1
            stage = replace(stage, cache=_cache(cfg, stage, teacher, count, announce=not stages))
        stages.append(stage)
        teacher = student
    return tuple(stages)


def _cache(
    cfg: dict[str, Any], stage: TrainingStage, teacher: NamedModel | None, count: int, announce: bool
) -> CachePlan | None:
    """How the answers of ``count`` teachers, of which one is given, are kept; said in one line for the first stage."""
    criterion, data = stage.recipe.criterion, stage.recipe.data
    if teacher is None or not criterion.needs_teacher:
        return None
    options = CacheOptions(**{**cfg["cache"], "dir": Path(cfg["cache"]["dir"])})
    found, why = plan(options, criterion, teacher.model_info, data, stage.max_epochs, stage.precision, count)
    if announce and options.enabled is not False:
        print(why, flush=True)
    return found


def _limit(term: Term) -> int | None:
    """The largest batch that a term's loss takes at any value of its schedules, if it says one."""
    if term.is_inactive and term.pretraining is None:
        return None
    loss = copy(term.loss)
    if not hasattr(loss, "largest_batch"):
        return None
    for name, schedule in term.schedules.items():
        setattr(loss, name, max(schedule.start, schedule.end))
    limit: int | None = loss.largest_batch
    return limit


def _build_criterion(
    criterion: Criterion, student: NamedModel, teacher: NamedModel | None, data: DataModule, role: str
) -> None:
    for term in criterion.terms:
        if data.mixes and "target" in term.all_reads and not getattr(term.loss, "soft_targets", False):
            raise UserError(
                f"term '{term.name}' needs one label per sample, and data.augment ({data.mixes}) mixes two: set it to 0"
            )
        limit, largest = _limit(term), data.largest_batch
        if limit is not None and largest > limit:
            raise UserError(
                f"term '{term.name}' takes at most {limit} samples in a batch (see kd.terms.{term.name}.loss), "
                f"and data.batch_size or data.eval_batch_size is {largest}"
            )
    criterion.build(student.model_info, teacher.model_info if teacher else None, data.num_train, data.indices("train"))
    dry_run(criterion, student, teacher, data.example(4))
    _announce(criterion, role)


def _mutual(cfg: dict[str, Any], stage: TrainingStage, data: DataModule) -> TrainingStage:
    """The stage with its peers, and a criterion for every ordered pair of students."""
    nets = [stage.student]
    for i, node in enumerate(cfg["kd"]["peers"], 1):
        L.seed_everything(cfg["seed"] + SEED_STEP * i, workers=True, verbose=False)
        nets.append(make_net(node, f"kd.peers.{i - 1}", f"the peer {i}", data, cfg["channels_last"]))
    rows: list[tuple[Criterion, ...]] = []
    for i, student in enumerate(nets):
        row = []
        for j, other in enumerate(nets):
            if i != j:
                criterion = stage.recipe.criterion if (i, j) == (0, 1) else criterion_of(cfg)
                _build_criterion(criterion, student, other, data, "student" if i == 0 else f"peer_{i}")
                row.append(criterion)
        rows.append(tuple(row))
    for term in stage.recipe.criterion.terms:
        if term.pretraining or hasattr(term.loss, "calibrate"):
            raise UserError(
                f"term '{term.name}' needs a finished teacher, and in mutual learning (kd.peers) there is none"
            )
    return replace(stage, peers=tuple(nets[1:]), mutual=tuple(rows))


def _check_flows(cfg: dict[str, Any]) -> bool:
    """Whether the run has a teacher; a UserError for a flow whose terms would learn nothing from it."""
    kd, criterion = cfg["kd"], criterion_of(cfg)
    flows = [name for name in ("teachers", "assistants", "peers") if kd[name]]
    flows += ["generations"] if kd["generations"] > 1 else []
    if flows and not criterion.needs_teacher:
        raise UserError(f"kd.{flows[0]} needs a term that learns from a teacher, and none of these does")
    if kd["teachers"] and not criterion.reads("teacher_logits"):
        raise UserError("kd.teachers needs a term that reads the teacher's logits: only these are combined")
    return criterion.needs_teacher and kd["peers"] is None


def build(
    config: DictConfig, folder: Path, callbacks_of: Callable[[str], list[L.Callback]] = lambda _: []
) -> Experiment:
    """All objects of one run, every configuration error found before any training.

    Args:
        config: composed and checked, names of models in ``kd`` expanded (``distill.config.named_models``).
        folder: the run's folder.
        callbacks_of: more callbacks for the trainer, by the label of what is trained.

    Raises:
        UserError: whatever of the configuration does not fit the code, the data or the machine.
    """
    cfg: Any = OmegaConf.to_container(config, resolve=True)
    quiet()
    check_device(cfg["trainer"]["accelerator"], cfg["trainer"]["devices"])
    distributed.join(uses_cuda(cfg["trainer"]["accelerator"]))
    make_trainer = trainer_factory(cfg, callbacks_of)
    only_teacher = cfg["only"] is not None

    data = load_data(cfg)
    taught = _check_flows(cfg)
    teachers = _teachers(cfg, data, make_trainer) if taught or only_teacher else ()
    teacher = teachers[0][0] if teachers else None
    stages = () if only_teacher else _stages(cfg, data, teacher, make_trainer, folder)
    precision = stages[-1].precision if stages else teachers[0][1].precision
    nets = [net for net, _ in teachers] + [net for stage in stages for net in (stage.student, *stage.peers)]
    torch.set_num_threads(cfg["threads"] or _threads(nets, data.example(1), cfg["data"]["batch_size"]))
    return Experiment(
        folder=folder,
        teachers=teachers,
        combine=combiner(cfg, len(teachers)),
        stages=stages,
        data=data,
        seed=cfg["seed"],
        make_evaluator=partial(evaluator, cfg["trainer"], precision),
        config=OmegaConf.to_container(config, resolve=True, enum_to_str=True),
        resume=cfg["resume"],
        precision=str(precision),
    )
