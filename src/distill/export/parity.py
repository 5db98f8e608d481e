"""Comparison of an exported file with the model that it was made of, on the same images."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

BATCH = 128
Runner = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Parity:
    """How well a file agrees with the model that it was made of.

    Attributes:
        difference: largest absolute difference of a logit.
        accuracy: top-1 accuracy of the file.
        reference: top-1 accuracy of the original.
        agreement: share of images with the same predicted class.
        images: number of images.
    """

    difference: float
    accuracy: float
    reference: float
    agreement: float
    images: int


@torch.inference_mode()
def logits(run: Runner, inputs: Tensor) -> Tensor:
    """Logits (N, C) in float32, computed in batches."""
    return torch.cat([run(batch).float() for batch in torch.split(inputs, BATCH)])


def compare(outputs: Tensor, reference: Tensor, labels: Tensor) -> Parity:
    """Compares logits (N, C) of a file with those of its original; NaN counts as an infinite difference.

    Example:
        >>> compare(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 2.5]]), torch.tensor([1]))
        Parity(difference=0.5, accuracy=1.0, reference=1.0, agreement=1.0, images=1)
    """
    predicted, expected = outputs.argmax(1), reference.argmax(1)
    return Parity(
        difference=float((outputs - reference).abs().nan_to_num(nan=float("inf")).max()),
        accuracy=float((predicted == labels).float().mean()),
        reference=float((expected == labels).float().mean()),
        agreement=float((predicted == expected).float().mean()),
        images=len(labels),
    )
