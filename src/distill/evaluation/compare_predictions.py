"""The student's predictions compared with another model's: agreement, correctness, changes by class."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy
from torchmetrics.functional.regression import kl_divergence

from distill.evaluation.results import ClassChange, Comparison, Count

SHOWN = 10  # classes listed as lost and as gained


def _count(mask: Tensor) -> Count:
    return Count(int(mask.sum()), float(mask.double().mean()))


def compare_predictions(student: Tensor, other: Tensor, target: Tensor, classes: Sequence[str]) -> Comparison:
    """Compares the student with a teacher, a peer, or itself trained without one.

    Args:
        student: its logits (N, C).
        other: the other model's logits (N, C).
        target: class numbers, int64 (N,).
        classes: their C names.

    Example:
        >>> z = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> comparison = compare_predictions(z, z, torch.tensor([0, 0]), ("cat", "dog"))
        >>> comparison.agreement, comparison.kl, comparison.both_wrong
        (1.0, 0.0, Count(count=1, share=0.5))
    """
    student_right, other_right = (logits.argmax(1) == target for logits in (student, other))
    log_p, log_q = (logits.float().log_softmax(1) for logits in (other, student))
    changes = _class_changes(student, other, target, classes)
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
        lost=[each for each in changes if each.change < 0][:SHOWN],
        gained=[each for each in reversed(changes) if each.change > 0][:SHOWN],
    )


def _class_changes(student: Tensor, other: Tensor, target: Tensor, classes: Sequence[str]) -> list[ClassChange]:
    """Accuracy of both models on every class that has samples, by their difference, ascending."""
    settings: dict[str, Any] = {"num_classes": len(classes), "average": None, "validate_args": False}
    accuracies = [multiclass_accuracy(logits, target, **settings).tolist() for logits in (student, other)]
    support = target.bincount(minlength=len(classes)).tolist()
    rows = zip(classes, *accuracies, support, strict=True)
    return sorted((ClassChange(name, a, b, a - b) for name, a, b, n in rows if n), key=lambda each: each.change)


def most(values: Tensor, among: Tensor | None = None, shown: int = 12) -> list[int]:
    """Positions of the largest values, largest first, of those that ``among`` (bool) allows.

    Example:
        >>> most(torch.tensor([1.0, 3.0, 2.0]), torch.tensor([True, False, True]))
        [2, 0]
    """
    positions = torch.arange(len(values)) if among is None else among.nonzero().flatten()
    order = values[positions].argsort(descending=True, stable=True)[:shown]
    return [int(position) for position in positions[order]]
