"""The criterion from the configuration, and fitted to two models."""

from copy import copy
from typing import Any

from distill.config.instantiate import instantiate
from distill.config.schedules import Schedule, is_schedule, parse
from distill.config.schema import KDConfig, Node, TermConfig
from distill.data import DataModule
from distill.distillation.criterion import Criterion
from distill.distillation.dry_run import dry_run
from distill.distillation.model_info import NamedModel
from distill.distillation.terms import Pretraining, Term
from distill.losses.protocols import BatchLimited
from distill.utils.errors import UserError


def build_scheduled(node: Node, key: str, max_epochs: int) -> tuple[Any, dict[str, Schedule]]:
    """An object whose arguments may follow schedules, built with their first values, and these schedules.

    It is built once with their last values before, so that one out of range shows now.
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
    """The criterion that a configuration describes, not yet fitted to models."""
    terms = [_term(name, term, max_epochs) for name, term in kd.terms.items()]
    if kd.standardize and not any("teacher_logits" in term.all_reads for term in terms):
        raise UserError("kd.standardize=true standardises student's and teacher's logits, and no term reads both")
    return Criterion(_number(kd.alpha, "kd.alpha"), terms, kd.label_smoothing)


def _largest_batch(term: Term) -> int | None:
    """The largest batch that a term's loss takes at any value of its schedules; None: no bound."""
    if term.is_inactive and term.pretraining is None:
        return None
    loss = copy(term.loss)
    if not isinstance(loss, BatchLimited):
        return None
    for name, schedule in term.schedules.items():
        setattr(loss, name, max(schedule.start, schedule.end))
    return loss.largest_batch


def _check_batches(term: Term, data: DataModule) -> None:
    """A UserError for a term that cannot work on the data's batches."""
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
    """Builds the criterion for two models, and tries it on a few samples.

    Raises:
        UserError: a term that does not fit the models or the data, or that fails.
    """
    for term in criterion.terms:
        _check_batches(term, data)
    criterion.build(student.model_info, teacher.model_info if teacher else None, data.num_train, data.indices("train"))
    dry_run(criterion, student, teacher, data.example(4))


def layer_lines(criterion: Criterion, role: str) -> list[str]:
    """Which layers the terms read, a line per pair."""
    return [
        f"term {term.name}: {role.replace('_', ' ')} {student} <- teacher {teacher}"
        for term in criterion.terms
        for student, teacher in zip(
            criterion.student_layers[term.name], criterion.teacher_layers[term.name], strict=True
        )
    ]
