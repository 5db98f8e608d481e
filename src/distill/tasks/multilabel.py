"""Any number of labels per sample: logits (N, C), one decision per label."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.classification import BinaryAccuracy, MultilabelAveragePrecision, MultilabelF1Score
from torchmetrics.functional.classification import multilabel_average_precision, multilabel_f1_score

from distill.losses.checks import upcast
from distill.tasks.base import Targets, Task
from distill.tasks.info import AGREEMENT, Metric
from distill.tasks.metrics import OutputMetrics
from distill.utils.errors import UserError


class Multilabel(Task):
    """Multi-label classification.

    L_hard is binary cross-entropy, the mean over samples and labels. The terms of L_soft see one distribution per
    sample and label: rows [0, z] of shape (N · C, 2), of which softmax([0, z])₁ = sigmoid(z).

    Args:
        num_classes: C, the number of labels.
        threshold: probability from which a label is predicted, in (0, 1).
        score: the metric that chooses: "map" (mean average precision), "f1" (mean over labels) or "agreement" (share of
            decisions that student and teacher make alike).
    """

    name = "multilabel"
    metric_infos = (Metric("map", "mean average precision"), Metric("f1", "F1, mean over labels"), AGREEMENT)
    default_score = "map"
    targets: ClassVar[Targets] = "multilabel"

    def __init__(self, num_classes: int, threshold: float = 0.5, score: str | None = None) -> None:
        super().__init__(num_classes, score)
        if not 0 < threshold < 1:
            raise UserError(f"task.threshold must lie between 0 and 1, both excluded, got {threshold}")
        self.threshold = threshold

    def supervised_loss(self, output: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Binary cross-entropy in nats, in float32; smoothing moves every target towards ½.

        Args:
            output: logits (N, C).
            target: 0 or 1, float32 (N, C).
            label_smoothing: in [0, 1).
        """
        target = target * (1 - label_smoothing) + label_smoothing / 2
        return F.binary_cross_entropy_with_logits(upcast(output), target)

    def rows(self, output: Tensor, target: Tensor | None = None) -> Tensor:
        """Two-way logits (N · C, 2) of every sample and label: [0, z]."""
        del target
        z = output.reshape(-1)
        return torch.stack([torch.zeros_like(z), z], dim=1)

    def row_targets(self, target: Tensor) -> Tensor:
        """1 where the label is there, int64 (N · C,)."""
        return target.reshape(-1).long()

    def combined(
        self, outputs: Sequence[Tensor], target: Tensor, mean: Callable[[Sequence[Tensor], Tensor], Tensor]
    ) -> Tensor:
        """The logits (N, C) of every label's mean probability."""
        rows = mean([self.rows(output) for output in outputs], self.row_targets(target))
        return (rows[:, 1] - rows[:, 0]).reshape(outputs[0].shape)

    def decode(self, output: Tensor, names: Sequence[str]) -> list[dict[str, Any]]:
        """The labels whose probability is above the threshold, and every label's probability."""
        return [
            {"labels": [name for name, p in zip(names, row, strict=True) if p > self.threshold]}
            | dict(zip(names, row, strict=True))
            for row in output.float().sigmoid().tolist()
        ]

    def by_output(self, output: Tensor, target: Tensor) -> dict[str, list[float]]:
        """Average precision and F1 of every label."""
        probabilities, labels = output.float().sigmoid(), target.long()
        precision = multilabel_average_precision(probabilities, labels, self.num_classes, average="none")
        f1 = multilabel_f1_score(probabilities, labels, self.num_classes, self.threshold, average="none")
        return {"average precision": precision.tolist(), "F1": f1.tolist()}

    def metrics(self, with_agreement: bool) -> OutputMetrics:
        """Mean average precision, F1 and agreement with the teacher."""
        settings: dict[str, Any] = {"num_labels": self.num_classes, "average": "macro", "validate_args": False}
        agreement = {"agreement": _Alike(self.threshold, validate_args=False)} if with_agreement else {}
        return OutputMetrics(
            {"map": _OfLabels(**settings), "f1": MultilabelF1Score(threshold=self.threshold, **settings)},
            agreement,
            torch.sigmoid,
        )


class _OfLabels(MultilabelAveragePrecision):
    """Average precision whose targets may be floats; a label that no sample has does not count."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        super().update(preds, target.long())


class _Alike(BinaryAccuracy):
    """The share of decisions that two models make alike, from their probabilities."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        super().update(preds, (target > self.threshold).long())
