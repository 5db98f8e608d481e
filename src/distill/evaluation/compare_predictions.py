"""The student's predictions beside another model's: agreement, who is right, which classes lost and gained."""

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy
from torchmetrics.functional.regression import kl_divergence

from distill.evaluation.results import ClassChange, ClassChanges, Comparison, Count

SHOWN = 10


def _count(mask: Tensor) -> Count:
    return Count(int(mask.sum()), float(mask.double().mean()))


def compare_predictions(student: Tensor, other: Tensor, target: Tensor) -> Comparison:
    """Compares the student with a teacher, a peer, or itself trained without one.

    Args:
        student: its logits (N, C).
        other: the other model's logits (N, C).
        target: class numbers, int64 (N,).

    Example:
        >>> z = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> comparison = compare_predictions(z, z, torch.tensor([0, 0]))
        >>> comparison.agreement, comparison.kl, comparison.both_wrong
        (1.0, 0.0, Count(count=1, share=0.5))
    """
    student_right, other_right = (logits.argmax(1) == target for logits in (student, other))
    log_p, log_q = (logits.float().log_softmax(1) for logits in (other, student))
    agreement = multiclass_accuracy(
        student, other.argmax(1), num_classes=student.shape[1], average="micro", validate_args=False
    )
    return Comparison(
        agreement=float(agreement),
        kl=float(kl_divergence(log_p, log_q, log_prob=True)),
        both_right=_count(student_right & other_right),
        only_student_right=_count(student_right & ~other_right),
        only_other_right=_count(~student_right & other_right),
        both_wrong=_count(~student_right & ~other_right),
    )


def class_changes(student: list[float | None], other: list[float | None], classes: tuple[str, ...]) -> ClassChanges:
    """The classes whose accuracy lost and gained most, at most ten each, the largest change first.

    Args:
        student: its accuracy per class.
        other: the other model's.
        classes: their names.

    Example:
        >>> class_changes([0.5, 1.0], [0.75, 1.0], ("cat", "dog")).lost
        [ClassChange(name='cat', student=0.5, other=0.75, change=-0.25)]
    """
    changes = [
        ClassChange(name, a, b, a - b)
        for name, a, b in zip(classes, student, other, strict=True)
        if a is not None and b is not None
    ]
    changes.sort(key=lambda each: each.change)
    return ClassChanges(
        lost=[each for each in changes if each.change < 0][:SHOWN],
        gained=[each for each in reversed(changes) if each.change > 0][:SHOWN],
    )


def most(values: Tensor, among: Tensor | None = None, shown: int = 12) -> list[int]:
    """Positions of the largest values, largest first, of those that ``among`` (bool) allows.

    Example:
        >>> most(torch.tensor([1.0, 3.0, 2.0]), torch.tensor([True, False, True]))
        [2, 0]
    """
    positions = torch.arange(len(values)) if among is None else among.nonzero().flatten()
    order = values[positions].argsort(descending=True, stable=True)[:shown]
    return [int(position) for position in positions[order]]
