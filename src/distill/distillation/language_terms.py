"""The losses of a language model: cross-entropy and all logit terms together, from hidden states, by chunks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.data import Batch
from distill.distillation.terms import Term
from distill.losses.checks import upcast
from distill.losses.chunked import chunked_loss
from distill.losses.logits.standardize import standardize
from distill.losses.sampled import SampledLoss, TokenSamples, sampled_loss
from distill.models.outputs import Outputs
from distill.tasks.base import Task
from distill.utils.errors import UserError

OF_ROWS = frozenset({"student_logits", "teacher_logits", "target"})


@dataclass(frozen=True)
class Part:
    """One summand of the loss.

    Attributes:
        name: under which it is logged.
        weight: of it in the sum.
        loss: of logits (M, C) of student and teacher (None where there is none) and targets (M,), the mean over rows.
        reads_teacher: whether it needs the teacher's.
    """

    name: str
    weight: float
    loss: Callable[[Tensor, Tensor | None, Tensor], Tensor]
    reads_teacher: bool = False


def is_of_rows(term: Term) -> bool:
    """Whether a term reads nothing but logits and targets."""
    return set(term.reads) <= OF_ROWS and "student_logits" in term.reads


def hard_part(weight: float, label_smoothing: float) -> Part:
    """Cross-entropy of the next token."""

    def loss(student: Tensor, _: Tensor | None, target: Tensor) -> Tensor:
        return F.cross_entropy(upcast(student), target, label_smoothing=label_smoothing)

    return Part("hard", weight, loss)


def term_part(term: Term, loss: nn.Module, weight: float) -> Part:
    """A logit term."""

    def of_rows(student: Tensor, teacher: Tensor | None, target: Tensor) -> Tensor:
        if isinstance(teacher, TokenSamples):
            assert isinstance(loss, SampledLoss)  # the cache's plan has made sure of it
            return sampled_loss(loss, student, teacher)
        given = {"student_logits": student, "teacher_logits": teacher, "target": target}
        if term.standardize:
            given = {name: standardize(x) if x is not None and x is not target else x for name, x in given.items()}
        return cast(Tensor, loss(**{name: given[name] for name in term.reads}))

    return Part(term.name, weight, of_rows, "teacher_logits" in term.reads)


def over_rows(
    parts: Sequence[Part], student: Outputs, teacher: Outputs | None, task: Task | None, batch: Batch
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of the parts, with a gradient, and each part by name, without; see ``chunked_loss``.

    Args:
        parts: at least one.
        student: whose ``head`` makes logits of its rows.
        teacher: likewise; None: there is none, or no part reads it.
        task: says which rows count.
        batch: with the targets.

    Raises:
        UserError: the two models' rows or vocabularies do not fit.
    """
    assert task is not None, "a language model's loss is a task's"
    hidden, target = cast(Tensor, task.rows(student.logits, batch.target)), task.row_targets(batch.target)
    if not any(part.reads_teacher for part in parts):
        teacher = None
    others = None if teacher is None else cast(Tensor, task.rows(teacher.logits, batch.target))
    values = {part.name: torch.zeros((), device=hidden.device) for part in parts}
    count = max(1, len(hidden))

    def loss(student_logits: Tensor, *rest: Tensor) -> Tensor:
        *given, labels = rest
        total = torch.zeros((), device=hidden.device)
        for part in parts:
            value = part.loss(student_logits, given[0] if given else None, labels)
            values[part.name] += value.detach() * (len(labels) / count)
            total = total + part.weight * value
        return total

    head = None if teacher is None else teacher.head
    try:
        return chunked_loss(loss, hidden, student.head, others, head, target), values
    except ValueError as error:
        raise UserError(f"the losses of tokens: {error}") from error
