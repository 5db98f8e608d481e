"""One class per sample (or a mixture of two): logits (N, C)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.losses.checks import upcast
from distill.tasks.base import Task
from distill.tasks.info import CLASSIFICATION
from distill.tasks.metrics import ClassificationMetrics
from distill.utils.units import percent


def cross_entropy(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy, computed in float32, in nats, the mean over the batch.

    Args:
        logits: (N, C).
        target: class numbers, int64 (N,), or shares of the classes, (N, C).
        label_smoothing: share of the target that is spread evenly over the classes, in [0, 1).
    """
    return F.cross_entropy(upcast(logits), target, label_smoothing=label_smoothing)


class Classification(Task):
    """Single-label classification.

    Args:
        num_classes: C.
        score: the metric that chooses: "acc" (top-1 accuracy), "top5" or "agreement".
    """

    name = CLASSIFICATION.name
    metric_infos = CLASSIFICATION.metrics
    default_score = CLASSIFICATION.score
    mixes = True
    has_classes = True

    def __init__(self, num_classes: int, score: str | None = None) -> None:
        super().__init__(num_classes, score)
        if num_classes <= 5:
            self.without("top5")

    def supervised_loss(self, output: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """See :func:`cross_entropy`."""
        return cross_entropy(output, target, label_smoothing)

    def metrics(self, with_agreement: bool) -> ClassificationMetrics:
        """Top-1 and top-5 accuracy, and agreement with the teacher."""
        return ClassificationMetrics(self.num_classes, with_agreement)

    def decode(self, output: Tensor, names: Sequence[str]) -> list[dict[str, Any]]:
        """The likeliest class and its probability."""
        probabilities, predicted = output.float().softmax(1).max(1)
        pairs = zip(predicted.tolist(), probabilities.tolist(), strict=True)
        return [{"class": names[i], "probability": p} for i, p in pairs]

    def example_target(self, n: int) -> Tensor:
        """Class numbers, int64 (n,)."""
        return torch.arange(n) % self.num_classes

    def weakness(self, scores: Mapping[str, float]) -> str | None:
        """That it is hardly better than chance."""
        chance = 1 / self.num_classes
        weak = scores["acc"] < 2 * chance and scores["acc"] < 0.9
        return f"hardly better than chance ({percent(chance)})" if weak else None
