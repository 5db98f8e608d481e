"""What is counted on train, validation and test, through torchmetrics."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from distill import ranks
from distill.taps import Outputs


class Metrics(nn.Module):
    """Top-1 and top-5 accuracy, and agreement: the share of samples on which student and teacher answer alike.

    Args:
        num_classes: C. Top-5 is left out where C ≤ 5.
        teacher: whether there is a teacher to agree with.
    """

    def __init__(self, num_classes: int, teacher: bool) -> None:
        super().__init__()

        def accuracy(k: int = 1) -> Metric:
            return MulticlassAccuracy(num_classes, top_k=k, average="micro", validate_args=False)

        self._agreed = False
        self.counts = nn.ModuleDict({"acc": accuracy()})
        if num_classes > 5:
            self.counts["top5"] = accuracy(5)
        if teacher:
            self.counts["agreement"] = accuracy()

    def update(self, student: Outputs, teacher: Outputs | None, target: Tensor) -> None:
        """Counts one batch; of a mixed sample, its larger share is taken for its class."""
        logits = student.logits.detach()
        target = target.argmax(1) if target.ndim == 2 else target
        self._agreed = teacher is not None
        for name, metric in self.counts.items():
            if name != "agreement":
                cast(Metric, metric).update(logits, target)
            elif teacher is not None:
                cast(Metric, metric).update(logits, teacher.logits.argmax(1))

    def compute(self) -> dict[str, Tensor]:
        """The shares by name, over all processes, and begins anew; no agreement where no teacher was asked."""
        found = {}
        for name, metric in self.counts.items():
            if name != "agreement" or self._agreed:
                found[name] = cast(Metric, metric).compute()
            cast(Metric, metric).reset()
        return found


class Means:
    """Means over the samples of an epoch of numbers that every batch gives; two operations a batch."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._sums: Tensor | None = None
        self._samples = 0

    def update(self, values: Mapping[str, Tensor], samples: int) -> None:
        """Adds the scalars of one batch; other names than before begin anew."""
        vector = torch.stack([value.detach().float() for value in values.values()]) * samples
        if self._sums is None or tuple(values) != self._names:
            self._names, self._sums, self._samples = tuple(values), torch.zeros_like(vector), 0
        self._sums += vector
        self._samples += samples

    def compute(self) -> dict[str, Tensor]:
        """The means by name, over all processes; begins anew."""
        sums, self._sums = self._sums, None
        if sums is None:
            return {}
        *totals, samples = ranks.summed(torch.cat([sums, sums.new_tensor([self._samples])]))
        return {name: total / samples for name, total in zip(self._names, totals, strict=True)}
