"""Images with one label each (or a mixture of two): logits (N, C)."""

from typing import Any, Protocol

import torch.nn.functional as F
from torch import Tensor

from distill.losses.checks import upcast
from distill.tasks.base import Score
from distill.tasks.metrics import Metrics


class ImageData(Protocol):
    """What a model must fit: a DataModule, or what a finished run remembers of one."""

    @property
    def num_classes(self) -> int:
        """C."""

    @property
    def in_channels(self) -> int:
        """Channels of every image."""

    @property
    def image_size(self) -> int:
        """Height of every image in pixels."""

    def example(self, n: int) -> Tensor:
        """A batch of ``n`` inputs."""


class ImageClassification:
    """Single-label image classification.

    Args:
        num_classes: C.
    """

    score = Score("acc", "max")

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    @staticmethod
    def supervised_loss(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Cross-entropy, computed in float32, in nats, the mean over the batch.

        Args:
            logits: (N, C).
            target: class numbers, int64 (N,), or shares of the classes, (N, C).
            label_smoothing: share of the target that is spread evenly over the classes, in [0, 1).
        """
        return F.cross_entropy(upcast(logits), target, label_smoothing=label_smoothing)

    @staticmethod
    def model_arguments(data: ImageData) -> dict[str, Any]:
        """``num_classes``, ``in_channels`` and ``image_size``."""
        return {"num_classes": data.num_classes, "in_channels": data.in_channels, "image_size": data.image_size}

    def metrics(self, with_agreement: bool) -> Metrics:
        """Top-1 and top-5 accuracy, and agreement with the teacher."""
        return Metrics(self.num_classes, with_agreement)
