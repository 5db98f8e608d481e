"""What is counted on train, validation and test, through torchmetrics."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from distill.models.outputs import Outputs
from distill.utils import distributed

AT_ONCE = 1 << 18  # logits that wait to be counted together


class Metrics(nn.Module):
    """Top-1 and top-5 accuracy, and agreement: the share of samples on which student and teacher answer alike.

    Batches are kept until there are enough to count together: of a short step, counting would be a large part.

    Args:
        num_classes: C. Top-5 is left out where C ≤ 5.
        teacher: whether there is a teacher to agree with.
    """

    def __init__(self, num_classes: int, teacher: bool) -> None:
        super().__init__()

        def accuracy(k: int = 1) -> Metric:
            return MulticlassAccuracy(num_classes, top_k=k, average="micro", validate_args=False)

        self._waiting: list[tuple[Tensor, Tensor, Tensor | None]] = []
        self._elements = 0
        self.counts = nn.ModuleDict({"acc": accuracy()})
        if num_classes > 5:
            self.counts["top5"] = accuracy(5)
        if teacher:
            self.counts["agreement"] = accuracy()

    def update(self, student: Outputs, teacher: Outputs | None, target: Tensor) -> None:
        """Takes one batch; of a mixed sample, its larger share is taken for its class."""
        logits = student.logits.detach().clone()  # a compiled model may write its next answers over these
        answers = None if teacher is None or "agreement" not in self.counts else teacher.logits.argmax(1)
        self._waiting.append((logits, target, answers))
        self._elements += logits.numel()
        if self._elements >= AT_ONCE:
            self._count()

    def _count(self) -> None:
        """Counts what waits."""
        if not self._waiting:
            return
        waiting, self._waiting, self._elements = self._waiting, [], 0
        logits, target = (torch.cat([batch[i] for batch in waiting]) for i in (0, 1))  # type: ignore[misc]
        target = target.argmax(1) if target.ndim == 2 else target
        for name, metric in self.counts.items():
            if name != "agreement":
                cast(Metric, metric).update(logits, target)
        asked = [(logits, answers) for logits, _, answers in waiting if answers is not None]
        if asked:
            cast(Metric, self.counts["agreement"]).update(*map(torch.cat, zip(*asked, strict=True)))

    def compute(self) -> dict[str, Tensor]:
        """The shares by name, over all processes, and begins anew; no agreement where no teacher was asked."""
        self._count()
        found = {}
        for name, metric in self.counts.items():
            if name != "agreement" or cast(Metric, metric).update_called:
                found[name] = cast(Metric, metric).compute()
            cast(Metric, metric).reset()
        return found


class Means:
    """Means over the samples of an epoch of numbers that every batch gives; three operations a batch.

    Attributes:
        names: of the numbers.
        last: those of the last batch, float32 (len(names),).
    """

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.last: Tensor | None = None
        self._sums: Tensor | None = None
        self._samples = 0

    def update(self, values: Mapping[str, Tensor], samples: int) -> None:
        """Adds the scalars of one batch; other names than before begin anew."""
        self.last = torch.stack([value.detach().float() for value in values.values()])
        if self._sums is None or tuple(values) != self.names:
            self.names, self._sums, self._samples = tuple(values), torch.zeros_like(self.last), 0
        self._sums.add_(self.last, alpha=samples)
        self._samples += samples

    def compute(self) -> dict[str, Tensor]:
        """The means by name, over all processes; begins anew."""
        sums, self._sums = self._sums, None
        if sums is None:
            return {}
        *totals, samples = distributed.all_reduce_sum(torch.cat([sums, sums.new_tensor([self._samples])]))
        return {name: total / samples for name, total in zip(self.names, totals, strict=True)}
