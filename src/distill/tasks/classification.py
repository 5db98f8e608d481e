"""One class per sample (or a mixture of two): logits (N, C)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.losses.checks import upcast
from distill.tasks.base import Task
from distill.tasks.info import CLASSIFICATION, Metric
from distill.tasks.metrics import ClassificationMetrics
from distill.utils.errors import UserError, nearest
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
        score: the metric that chooses: "acc" (top-1 accuracy), "top5", "agreement", "f1" or "matthews".
        metrics: measured as well: "f1", the mean of the classes' F1, and "matthews", Matthews' correlation coefficient;
            None: both of texts.
        kind: what the samples are: "images" or "text".

    Raises:
        UserError: there is no such metric.
    """

    name = CLASSIFICATION.name
    metric_infos = CLASSIFICATION.metrics
    optional_infos = (Metric("f1", "F1, mean over classes"), Metric("matthews", "Matthews correlation", unit="number"))
    default_score = CLASSIFICATION.score
    mixes = True
    has_classes = True

    def __init__(
        self,
        num_classes: int,
        score: str | None = None,
        metrics: Sequence[str] | None = None,
        kind: str = "images",
    ) -> None:
        super().__init__(num_classes, score)
        names = [metric.name for metric in self.optional_infos]
        asked = (names if kind == "text" else []) if metrics is None else list(metrics)
        for name in asked:
            if name not in names:
                raise UserError(f"task.metrics: {self.name} has no metric {name!r}; {nearest(str(name), names)}")
        shown = {*asked, self.info.score}
        self.extra = tuple(metric.name for metric in self.optional_infos if metric.name in shown)
        infos = [metric for metric in self.info.metrics if metric.name not in names]
        infos += [metric for metric in self.optional_infos if metric.name in shown]
        self.info = replace(self.info, metrics=tuple(infos))
        if num_classes <= 5:
            self.without("top5")

    def supervised_loss(self, output: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """See :func:`cross_entropy`."""
        return cross_entropy(output, target, label_smoothing)

    def metrics(self, with_agreement: bool) -> ClassificationMetrics:
        """Top-1 and top-5 accuracy, agreement with the teacher, and those that were asked for."""
        return ClassificationMetrics(self.num_classes, with_agreement, self.extra)

    def decode(self, output: Tensor, names: Sequence[str]) -> list[dict[str, Any]]:
        """The likeliest class and its probability."""
        probabilities, predicted = output.float().softmax(1).max(1)
        pairs = zip(predicted.tolist(), probabilities.tolist(), strict=True)
        return [{"class": names[i], "probability": p} for i, p in pairs]

    def example_target(self, n: int, inputs: Any = None) -> Tensor:
        """Class numbers, int64 (n,)."""
        del inputs
        return torch.arange(n) % self.num_classes

    def weakness(self, scores: Mapping[str, float]) -> str | None:
        """That it is hardly better than chance."""
        chance = 1 / self.num_classes
        weak = scores["acc"] < 2 * chance and scores["acc"] < 0.9
        return f"hardly better than chance ({percent(chance)})" if weak else None
