"""Metrics of outputs (torchmetrics), and means of losses."""

import warnings
from collections.abc import Callable, Collection, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score, MulticlassMatthewsCorrCoef

from distill.models.outputs import Outputs
from distill.utils import distributed

BUFFERED = 1 << 18  # logits that are kept before the metrics are updated with them


class ClassificationMetrics(nn.Module):
    """Top-1 and top-5 accuracy, and agreement: the share of samples on which student and teacher predict alike.

    Batches are buffered and counted together: of a short step, updating metrics would be a large part.

    Args:
        num_classes: C. Top-5 is left out where C ≤ 5.
        with_agreement: whether there is a teacher to agree with.
        extra: of "f1" (the mean over the classes) and "matthews", what is measured as well.
    """

    def __init__(self, num_classes: int, with_agreement: bool, extra: Collection[str] = ()) -> None:
        super().__init__()

        def accuracy(k: int = 1) -> Metric:
            return MulticlassAccuracy(num_classes, top_k=k, average="micro", validate_args=False)

        self._buffer: list[tuple[Tensor, Tensor, Tensor | None]] = []
        self._elements = 0
        self.counts = nn.ModuleDict({"acc": accuracy()})
        if num_classes > 5:
            self.counts["top5"] = accuracy(5)
        if with_agreement:
            self.counts["agreement"] = accuracy()
        if "f1" in extra:
            self.counts["f1"] = MulticlassF1Score(num_classes, average="macro", validate_args=False)
        if "matthews" in extra:
            self.counts["matthews"] = MulticlassMatthewsCorrCoef(num_classes, validate_args=False)

    def update(self, student: Outputs, teacher: Outputs | None, target: Tensor) -> None:
        """Take one batch; the class of a mixed sample is that of its larger share."""
        logits = student.logits.detach().clone()  # a CUDA graph overwrites its outputs
        predicted = None if teacher is None or "agreement" not in self.counts else teacher.logits.argmax(1)
        self._buffer.append((logits, target, predicted))
        self._elements += logits.numel()
        if self._elements >= BUFFERED:
            self._update()

    def _update(self) -> None:
        """Update the metrics with what is buffered."""
        if not self._buffer:
            return
        batches, self._buffer, self._elements = self._buffer, [], 0
        logits, target = (torch.cat([batch[i] for batch in batches]) for i in (0, 1))  # type: ignore[misc]
        target = target.argmax(1) if target.ndim == 2 else target
        for name, metric in self.counts.items():
            if name != "agreement":
                cast(Metric, metric).update(logits, target)
        pairs = [(logits, predicted) for logits, _, predicted in batches if predicted is not None]
        if pairs:
            cast(Metric, self.counts["agreement"]).update(*map(torch.cat, zip(*pairs, strict=True)))

    def compute(self) -> dict[str, Tensor]:
        """The shares by name, over all processes, and reset; no agreement where there was no teacher output."""
        self._update()
        values = {}
        for name, metric in self.counts.items():
            if name != "agreement" or cast(Metric, metric).update_called:
                values[name] = cast(Metric, metric).compute().float()  # of Matthews' it may be a whole number
            cast(Metric, metric).reset()
        return values


class OutputMetrics(nn.Module):
    """Metrics of outputs against targets, and of a student's outputs against its teacher's.

    Args:
        against_target: by name; ``update(output, target)``. A value for each of several outputs is averaged.
        against_teacher: likewise; ``update(student's output, teacher's output)``; empty without a teacher.
        decode: from what a model returns to what the metrics take.
    """

    def __init__(
        self,
        against_target: Mapping[str, Metric],
        against_teacher: Mapping[str, Metric],
        decode: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__()
        self.against_target = nn.ModuleDict(against_target)
        self.against_teacher = nn.ModuleDict(against_teacher)
        self._decode = decode

    def update(self, student: Outputs, teacher: Outputs | None, target: Tensor) -> None:
        """Take one batch."""
        output = self._decode(student.logits.detach().float())
        for metric in self.against_target.values():
            cast(Metric, metric).update(output, target)
        if teacher is not None and self.against_teacher:
            expected = self._decode(teacher.logits.detach().float())
            for metric in self.against_teacher.values():
                cast(Metric, metric).update(output, expected)

    def compute(self) -> dict[str, Tensor]:
        """The values by name, over all processes, and reset; none of a metric that saw no batch."""
        values = {}
        for name, module in (*self.against_target.items(), *self.against_teacher.items()):
            metric = cast(Metric, module)
            if metric.update_called:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of what does not vary: its value is NaN, and shown
                    values[name] = metric.compute().float().mean()
            metric.reset()
        return values


class Means:
    """Means of scalars over the samples of an epoch, without synchronising host and device.

    Attributes:
        names: of the scalars.
        last: their values in the last batch, float32 (len(names),).
    """

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.last: Tensor | None = None
        self._sums: Tensor | None = None
        self._samples = 0

    def update(self, values: Mapping[str, Tensor], samples: int) -> None:
        """Add the scalars of one batch; other names than before reset the sums."""
        self.last = torch.stack([value.detach().float() for value in values.values()])
        if self._sums is None or tuple(values) != self.names:
            self.names, self._sums, self._samples = tuple(values), torch.zeros_like(self.last), 0
        self._sums.add_(self.last, alpha=samples)
        self._samples += samples

    def compute(self) -> dict[str, Tensor]:
        """The means by name, over all processes, and reset."""
        sums, self._sums = self._sums, None
        if sums is None:
            return {}
        *totals, samples = distributed.all_reduce_sum(torch.cat([sums, sums.new_tensor([self._samples])]))
        return {name: total / samples for name, total in zip(self.names, totals, strict=True)}


class TokenMetrics(nn.Module):
    """Metrics of tagged words, and the share of words that student and teacher tag alike.

    Args:
        against_target: by name; ``update(tags, target)`` with class numbers, int64 (N, L), of a whole batch; −100 in
            the target: no word. Of "acc" the words alone are given, (M,).
        agreement: counts words, likewise; None: there is no teacher.
    """

    def __init__(self, against_target: Mapping[str, Metric], agreement: Metric | None) -> None:
        super().__init__()
        self.against_target = nn.ModuleDict(against_target)
        self.agreement = agreement

    def update(self, student: Outputs, teacher: Outputs | None, target: Tensor) -> None:
        """Take one batch: logits (N, L, C), and class numbers (N, L)."""
        tags, words = student.logits.detach().argmax(-1), target >= 0
        for name, metric in self.against_target.items():
            chosen = (tags[words], target[words]) if name == "acc" else (tags, target)
            cast(Metric, metric).update(*chosen)
        if teacher is not None and self.agreement is not None:
            self.agreement.update(tags[words], teacher.logits.argmax(-1)[words])

    def compute(self) -> dict[str, Tensor]:
        """The values by name, over all processes, and reset; no agreement where there was no teacher output."""
        metrics = dict(self.against_target.items())
        if self.agreement is not None:
            metrics["agreement"] = self.agreement
        values = {}
        for name, module in metrics.items():
            metric = cast(Metric, module)
            if metric.update_called:
                values[name] = metric.compute().float()
            metric.reset()
        return values
