"""The student beside another model: where they agree, who is right, which classes lost and gained."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy
from torchmetrics.functional.regression import kl_divergence

SHOWN = 10


def _counted(mask: Tensor) -> dict[str, Any]:
    return {"count": int(mask.sum()), "share": float(mask.double().mean())}


def versus(student: Tensor, other: Tensor, target: Tensor) -> dict[str, Any]:
    """The student beside a teacher, a peer, or itself trained alone.

    Args:
        student: its logits (N, C).
        other: the other model's logits (N, C).
        target: class numbers, int64 (N,).

    Returns:
        ``agreement``: the share of samples with the same answer, in [0, 1]; ``kl``: mean KL(other ‖ student) at
        T = 1 in nats per sample; ``both_right``, ``only_student_right``, ``only_other_right``, ``both_wrong``: count
        and share of samples, shares sum to 1.

    Example:
        >>> z = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> found = versus(z, z, torch.tensor([0, 0]))
        >>> found["agreement"], found["kl"], found["both_wrong"]
        (1.0, 0.0, {'count': 1, 'share': 0.5})
    """
    right, taught = (logits.argmax(1) == target for logits in (student, other))
    log_p, log_q = (logits.float().log_softmax(1) for logits in (other, student))
    agreement = multiclass_accuracy(
        student, other.argmax(1), num_classes=student.shape[1], average="micro", validate_args=False
    )
    return {
        "agreement": float(agreement),
        "kl": float(kl_divergence(log_p, log_q, log_prob=True)),
        "both_right": _counted(right & taught),
        "only_student_right": _counted(right & ~taught),
        "only_other_right": _counted(~right & taught),
        "both_wrong": _counted(~right & ~taught),
    }


def shifts(student: list[float | None], other: list[float | None], classes: tuple[str, ...]) -> dict[str, Any]:
    """The classes whose accuracy lost and gained most, at most ten each, the largest change first.

    Args:
        student: its accuracy per class.
        other: the other model's.
        classes: their names.

    Returns:
        ``lost`` and ``gained``: lists of ``class``, ``student``, ``other``, ``change`` (student − other).

    Example:
        >>> shifts([0.5, 1.0], [0.75, 1.0], ("cat", "dog"))["lost"]
        [{'class': 'cat', 'student': 0.5, 'other': 0.75, 'change': -0.25}]
    """
    rows = [
        {"class": name, "student": a, "other": b, "change": a - b}
        for name, a, b in zip(classes, student, other, strict=True)
        if a is not None and b is not None
    ]
    rows.sort(key=lambda row: float(row["change"]))  # type: ignore[arg-type]
    return {
        "lost": [row for row in rows if row["change"] < 0][:SHOWN],  # type: ignore[operator]
        "gained": [row for row in reversed(rows) if row["change"] > 0][:SHOWN],  # type: ignore[operator]
    }


def most(values: Tensor, among: Tensor | None = None, shown: int = 12) -> list[int]:
    """Positions of the largest values, largest first, of those that ``among`` (bool) allows.

    Example:
        >>> most(torch.tensor([1.0, 3.0, 2.0]), torch.tensor([True, False, True]))
        [2, 0]
    """
    places = torch.arange(len(values)) if among is None else among.nonzero().flatten()
    order = values[places].argsort(descending=True, stable=True)[:shown]
    return [int(place) for place in places[order]]
