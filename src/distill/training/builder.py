"""Objects from a configuration: data, models, criteria, optimizers.

These functions have no side effects: seeds, logs and process groups are up to ``distill.training.prepare``.
"""

import logging
import re
from copy import copy
from typing import Any

import torch

from distill.config.instantiate import instantiate, resolve_target
from distill.config.kinds import takes_texts
from distill.config.nodes import TEACHER_KEYS
from distill.config.schedules import Schedule, is_schedule, parse
from distill.config.schema import KDConfig, Node, RecipeConfig, TermConfig, TrainConfig
from distill.data import Batch, DataModule
from distill.distillation.backbone import take_off_classifier
from distill.distillation.criterion import Criterion
from distill.distillation.dry_run import dry_run
from distill.distillation.inspection import inspect_model
from distill.distillation.model_info import NamedModel
from distill.distillation.terms import Pretraining, Term
from distill.losses.protocols import BatchLimited
from distill.models.hub.preprocess import see_with
from distill.models.outputs import output_layer
from distill.tasks.base import Task, TaskData
from distill.training import pretrained, unlabelled
from distill.training.optimization import OptimizerFactory
from distill.training.schedulers import SchedulerFactory, lightning_scheduler
from distill.utils.checkpoints import check_reloads
from distill.utils.errors import UserError
from distill.utils.inputs import num_samples

log = logging.getLogger(__name__)


def task_class(node: Node) -> type[Task]:
    """The class of the configured task.

    Raises:
        UserError: it cannot be imported, or is no task.
    """
    cls = resolve_target(node, "task")
    if not (isinstance(cls, type) and issubclass(cls, Task)):
        raise UserError(f"task._target_: {node['_target_']} is no class derived from distill.tasks.base.Task")
    return cls


def build_task(node: Node, data: TaskData) -> Task:
    """The task for the data.

    Raises:
        UserError: arguments or values that it does not accept.
    """
    facts = {name: getattr(data, name, None) for name in ("target_mean", "target_std", "kind")}
    task_class(node)
    task = instantiate(node, "task", num_classes=data.num_classes, class_names=list(data.classes), **facts)
    assert isinstance(task, Task)
    return task


def build_model(
    node: Node, key: str, who: str, data: TaskData, task: Task, channels_last: bool, training: int = 0
) -> NamedModel:
    """A model for the data, inspected by a dry forward.

    Args:
        node: its configuration.
        key: the node's dotted key.
        who: the role in error messages ("the teacher"); the model's name follows.
        data: determines outputs, channels and image size.
        task: says what of it the model is told.
        channels_last: memory format.
        training: the size of the batches in which it is to be trained; 0: it is not.

    Raises:
        UserError: the node does not make a model, or the model does not fit the data.
    """
    arguments = {k: v for k, v in node.items() if k not in (*TEACHER_KEYS, *pretrained.own_keys(node, key))}
    num_classes = arguments.get("num_classes")
    if num_classes is not None and num_classes != data.num_classes and task.has_classifier:
        raise UserError(
            f"{key}.num_classes={num_classes} disagrees with the data, which have {data.num_classes} classes"
        )
    own, facts = pretrained.preprocess(node, key), task.model_arguments(data)
    if own is not None and "image_size" in facts:
        facts |= {"in_channels": len(own.mean), "image_size": own.size}
    model = _made(arguments, key, facts)
    if not isinstance(model, torch.nn.Module):
        raise UserError(f"{key}: {node['_target_']} gave a {type(model).__name__}, not a torch.nn.Module")
    if own is not None:
        shown: Any = getattr(data, "preprocess")  # noqa: B009 - of images, which settle has made sure of
        see_with(model, own, shown.mean, shown.std)
    name = _name(arguments, model)
    if note := getattr(model, "note", "") if takes_texts(node) else "":
        log.info(f"{who.removeprefix('the ')} {name}: {note}")
    _check_vocabulary(model, f"{who} {name}", data)
    longest, length = getattr(model, "max_length", None), getattr(data, "input_shape", [0])[0]
    if data.kind == "text" and isinstance(longest, int) and length > longest:
        raise UserError(f"data.max_length: {who} {name} takes at most {longest} tokens, and texts are cut at {length}")
    example = data.example(4)
    head = "head" if not task.has_classifier and isinstance(getattr(model, "head", None), torch.nn.Identity) else None
    is_whole = task.has_classifier or head is not None or output_layer(model) is not None
    outputs = data.num_classes if task.has_classifier else None
    model_info = inspect_model(
        model, example, f"{who} {name}", outputs, training if is_whole else 0, head=head, dims=task.dims
    )
    if not is_whole:
        model_info = take_off_classifier(model, model_info, example, facts["num_classes"], training)
    if said := task.note(model_info.logits, example):
        log.info(f"{who.removeprefix('the ')} {name}: {said}")
    if training:
        check_reloads(model, model_info.name)
    if channels_last:  # now that lazy modules have their shapes
        model = model.to(memory_format=torch.channels_last)
    return NamedModel(name, model, model_info)


def _made(node: Node, key: str, facts: dict[str, Any]) -> Any:
    """A model's object; what a model of texts refuses is told with the key of its argument, or of its node."""
    try:
        return instantiate(node, key, **facts)
    except UserError as error:
        if not takes_texts(node) or str(error).startswith(key):
            raise
        argument = re.match(r"\w+(?=[=:])", str(error))
        raise UserError(f"{key}{'.' if argument and argument[0] in node else ': '}{error}") from error


def _check_vocabulary(model: Any, name: str, data: TaskData) -> None:
    """A UserError where a tokenizer gives ids that a model of transformers has no embedding of."""
    tokenizer, size = getattr(data, "vocabulary", ("", 0))
    if data.kind != "text" or not hasattr(model, "num_embeddings") or size <= model.num_embeddings:
        return
    raise UserError(
        f"the tokenizer {tokenizer} has {size:,} tokens, and {name} {model.num_embeddings:,} embeddings: give the "
        "model its own tokenizer"
    )


def _name(node: Node, model: torch.nn.Module) -> str:
    """How tables and folders call a model: its ``name`` without owner or folder, or what makes it."""
    function = str(node["_target_"]).rpartition(".")[2]
    name = str(node.get("name") or function)
    if not takes_texts(node):
        return name
    name = name.rstrip("/").rpartition("/")[2]
    if function in ("bert_model", "llama_model"):
        return f"{function.removesuffix('_model')}-{node.get('layers')}x{node.get('width')}"
    layers = getattr(model, "stages", ())
    return f"{name}-{len(layers) - 1}-layers" if function == "from_teacher" else name


def wrap_student(
    node: Node | None, student: NamedModel, teacher: NamedModel | None, example: Any, channels_last: bool
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


def build_criterion(kd: KDConfig, max_epochs: int, task: Task | None = None) -> Criterion:
    """The criterion of a configuration, not yet built for models."""
    terms = [_term(name, term, max_epochs) for name, term in kd.terms.items()]
    if task is not None and task.targets == "none":
        unlabelled.check(kd, terms, task)
    if kd.standardize and not any("teacher_logits" in term.all_reads for term in terms):
        raise UserError("kd.standardize=true standardises student's and teacher's logits, and no term reads both")
    for term in terms:
        if task is not None and term.name in {metric.name for metric in task.metric_infos}:
            raise UserError(f"'{term.name}' cannot name a term of the loss: it is a metric of task={task.info.name}")
    return Criterion(_number(kd.alpha, "kd.alpha"), terms, kd.label_smoothing, task)


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


def _check_batches(term: Term, data: DataModule[Any]) -> None:
    """Raises a UserError for a term that does not support the data's batches."""
    if data.mixes and "target" in term.all_reads and not term.accepts_soft_targets:
        raise UserError(
            f"term '{term.name}' needs one label per sample, and data.augment ({data.mixes}) mixes two: set it to 0"
        )
    limit, largest = _largest_batch(term), max(data.batch_size, data.evaluation_batch_size)
    if limit is not None and largest > limit:
        raise UserError(
            f"term '{term.name}' takes at most {limit} samples in a batch (see kd.terms.{term.name}.loss), "
            f"and data.batch_size or data.eval_batch_size is {largest}"
        )


def fit_criterion(criterion: Criterion, student: NamedModel, teacher: NamedModel | None, data: DataModule[Any]) -> None:
    """Builds the criterion for two models, and computes it for a few samples.

    Raises:
        UserError: a term does not fit the models or the data, or fails.
    """
    for term in criterion.terms:
        _check_batches(term, data)
        if data.has_other_inputs and term.uses_features and "attention_mask" in term.all_reads:
            raise UserError(
                f"term '{term.name}' compares the tokens of student and teacher, which have different tokenizers: "
                "give both one, or take a term on whole texts"
            )
    criterion.build(student.model_info, teacher.model_info if teacher else None, data.num_train, data.indices("train"))
    example = data.example(4)
    n = num_samples(example)
    assert criterion.task is not None
    target = criterion.task.example_target(n, example)
    dry_run(criterion, student, teacher, Batch(example, target, torch.arange(n), data.of_teacher().example(4)))


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
