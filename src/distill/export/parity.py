"""Comparison of an exported file with the model that it was made of, on the same samples."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from distill.tasks.base import Task
from distill.tasks.info import AGREEMENT

Runner = Callable[[Any], Tensor]  # of a batch


@dataclass(frozen=True)
class Parity:
    """How well a file agrees with the model that it was made of.

    Attributes:
        difference: largest absolute difference of a logit; None of a teacher whose embedding has another width.
        score: the task's score of the file; top-1 accuracy of a classifier.
        reference: that of the original.
        agreement: share of equal decisions (of a classifier: samples with the same predicted class); None: the task
            has none.
        images: number of samples.
    """

    difference: float | None
    score: float
    reference: float
    agreement: float | None
    images: int


def compare(outputs: Tensor, reference: Tensor, labels: Tensor, task: Task) -> Parity:
    """Compares logits (N, C) of a file with those of its original; NaN counts as an infinite difference.

    Example:
        >>> import torch
        >>> from distill.tasks.classification import Classification
        >>> compare(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 2.5]]), torch.tensor([1]), Classification(2))
        Parity(difference=0.5, score=1.0, reference=1.0, agreement=1.0, images=1)
    """
    name = task.info.against_labels.name
    measured = task.measure(outputs, labels, teacher=reference)
    difference = outputs - reference if outputs.shape == reference.shape else None
    return Parity(
        difference=float(difference.abs().nan_to_num(nan=float("inf")).max()) if difference is not None else None,
        score=measured[name],
        reference=task.measure(reference, labels)[name],
        agreement=measured.get(AGREEMENT.name),
        images=len(labels),
    )
