"""Objects from a configuration: data, models, criteria, optimizers.

These functions have no side effects: seeds, logs and process groups are up to ``distill.training.prepare``.
"""

import json
from copy import copy
from functools import partial
from typing import Any

import torch

from distill.config.instantiate import instantiate
from distill.config.schedules import Schedule, is_schedule, parse
from distill.config.schema import DataConfig, KDConfig, Node, RecipeConfig, TermConfig, TrainConfig
from distill.config.validation import TEACHER_KEYS
from distill.data import DataModule
from distill.distillation.criterion import Criterion
from distill.distillation.dry_run import dry_run
from distill.distillation.model_info import NamedModel, inspect_model
from distill.distillation.terms import Pretraining, Term
from distill.losses.protocols import BatchLimited
from distill.tasks.image_classification import ImageClassification, ImageData
from distill.training.optimization import OptimizerFactory
from distill.training.schedulers import SchedulerFactory, lightning_scheduler
from distill.utils.errors import UserError

_loaded: dict[str, DataModule] = {}  # cached for the next job of a sweep in this process


def load_data(config: DataConfig, seed: int) -> DataModule:
    """The data, loaded, checked and split; cached between the jobs of a sweep.

    Args:
        config: ``data`` of the configuration.
        seed: of the order of the samples and of their augmentation.

    Raises:
        UserError: data that do not exist or cannot be read, values that do not fit them.
    """
    node = {key: value for key, value in vars(config).items() if key not in ("name", "root")}
    key = json.dumps([value for name, value in sorted(node.items()) if name != "batch_size"], default=str)
    if key in _loaded:
        return _loaded[key].with_options(seed=seed, batch_size=config.batch_size)
    _loaded.clear()
    node["source"] = partial(instantiate, config.source, "data.source")
    node["transform"] = instantiate(config.transform, "data.transform") if config.transform else None
    try:
        data = DataModule.from_options(**node, seed=seed)
        data.prepare_data()
        data.setup()
    except (TypeError, ValueError) as error:
        raise UserError(f"data: {error}") from error
    _loaded[key] = data
    return data


def build_model(node: Node, key: str, who: str, data: ImageData, channels_last: bool) -> NamedModel:
    """A model for the data, inspected by a dry forward.

    Args:
        node: its configuration.
        key: the node's dotted key.
        who: the role in error messages ("the teacher"); the model's name follows.
        data: determines classes, channels and image size.
        channels_last: memory format.

    Raises:
        UserError: the node does not make a model, or the model does not fit the data.
    """
    arguments = {k: value for k, value in node.items() if k not in TEACHER_KEYS}
    num_classes = arguments.get("num_classes")
    if num_classes is not None and num_classes != data.num_classes:
        raise UserError(
            f"{key}.num_classes={num_classes} disagrees with the data, which have {data.num_classes} classes"
        )
    model = instantiate(arguments, key, **ImageClassification.model_arguments(data))
    if not isinstance(model, torch.nn.Module):
        raise UserError(f"{key}: {node['_target_']} gave a {type(model).__name__}, not a torch.nn.Module")
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    name = str(arguments.get("name") or arguments["_target_"].rpartition(".")[2])
    model_info = inspect_model(model, data.example(4), f"{who} {name}")
    if model_info.logits[1] != data.num_classes:
        raise UserError(
            f"{model_info.name} gives {model_info.logits[1]} logits, and the data have {data.num_classes} classes"
        )
    return NamedModel(name, model, model_info)


def wrap_student(
    node: Node | None, student: NamedModel, teacher: NamedModel | None, example: torch.Tensor, channels_last: bool
) -> NamedModel:
    """The student inside ``kd.student_wrapper`` (None: unchanged), for methods that change the model (SimKD).

    Raises:
        UserError: there is no teacher, or the wrapper does not fit the two models.
    """
    if not node:
        return student
    if teacher is None:
        raise UserError("kd.student_wrapper needs a teacher, and there is none")
    wrapper = instantiate(node, "kd.student_wrapper")
    try:
        model = wrapper(student.model, student.model_info, teacher.model, teacher.model_info, example)
    except ValueError as error:
        raise UserError(f"kd.student_wrapper: {error}") from error
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    return NamedModel(student.name, model, inspect_model(model, example, student.model_info.name))


def build_scheduled(node: Node, key: str, max_epochs: int) -> tuple[Any, dict[str, Schedule]]:
    """An object whose arguments may follow schedules, built with their first values, and the schedules.

    It is built with their last values before, to check their range.
    """
    schedules = {name: parse(value, f"{key}.{name}") for name, value in node.items() if is_schedule(value)}
    for epoch in (max_epochs - 1, 0) if schedules else (0,):
        values = {name: schedule.at(epoch, max_epochs) for name, schedule in schedules.items()}
        instance = instantiate({**node, **values}, key)
    return instance, schedules


def _number(value: Any, key: str) -> Any:
    return parse(value, key) if is_schedule(value) else value


def _term(name: str, term: TermConfig, max_epochs: int) -> Term:
    key = f"kd.terms.{name}"
    loss, schedules = build_scheduled(term.loss, f"{key}.loss", max_epochs)
    pretraining = Pretraining(**term.pretraining) if term.pretraining else None
    weight = _number(term.weight, f"{key}.weight")
    return Term(name, loss, weight, term.student, term.teacher, term.standardize, pretraining, schedules)


def build_criterion(kd: KDConfig, max_epochs: int) -> Criterion:
    """The criterion of a configuration, not yet built for models."""
    terms = [_term(name, term, max_epochs) for name, term in kd.terms.items()]
    if kd.standardize and not any("teacher_logits" in term.all_reads for term in terms):
        raise UserError("kd.standardize=true standardises student's and teacher's logits, and no term reads both")
    return Criterion(_number(kd.alpha, "kd.alpha"), terms, kd.label_smoothing)


def _largest_batch(term: Term) -> int | None:
    """The largest batch of a term's loss at any value of its schedules; None: no limit."""
    if term.is_inactive and term.pretraining is None:
        return None
    loss = copy(term.loss)
    if not isinstance(loss, BatchLimited):
        return None
    for name, schedule in term.schedules.items():
        setattr(loss, name, max(schedule.start, schedule.end))
    return loss.largest_batch


def _check_batches(term: Term, data: DataModule) -> None:
    """Raises a UserError for a term that does not support the data's batches."""
    if data.mixes and "target" in term.all_reads and not term.accepts_soft_targets:
        raise UserError(
            f"term '{term.name}' needs one label per sample, and data.augment ({data.mixes}) mixes two: set it to 0"
        )
    limit, largest = _largest_batch(term), data.largest_batch
    if limit is not None and largest > limit:
        raise UserError(
            f"term '{term.name}' takes at most {limit} samples in a batch (see kd.terms.{term.name}.loss), "
            f"and data.batch_size or data.eval_batch_size is {largest}"
        )


def fit_criterion(criterion: Criterion, student: NamedModel, teacher: NamedModel | None, data: DataModule) -> None:
    """Builds the criterion for two models, and computes it for a few samples.

    Raises:
        UserError: a term does not fit the models or the data, or fails.
    """
    for term in criterion.terms:
        _check_batches(term, data)
    criterion.build(student.model_info, teacher.model_info if teacher else None, data.num_train, data.indices("train"))
    dry_run(criterion, student, teacher, data.example(4))


def build_optimization(
    config: TrainConfig | RecipeConfig, prefix: str = ""
) -> tuple[OptimizerFactory, SchedulerFactory | None]:
    """Factories of optimizer and scheduler, checked on one parameter.

    Args:
        config: has the nodes ``optimizer`` and ``scheduler``.
        prefix: of their dotted keys, for error messages.

    Raises:
        UserError: arguments or values that they do not accept.
    """
    optimizer = instantiate(config.optimizer, f"{prefix}optimizer")
    scheduler = instantiate(config.scheduler, f"{prefix}scheduler") if config.scheduler else None
    for name in ("optimizer", "scheduler"):
        try:
            trial = optimizer([torch.nn.Parameter(torch.zeros(1))])
            if name == "scheduler" and scheduler is not None:
                lightning_scheduler(scheduler, trial, total_steps=1000)
        except (TypeError, ValueError) as error:
            raise UserError(f"{prefix}{name}: {error}") from error
    return optimizer, scheduler
