"""One class per pixel of an image: logits (N, C, h, w) at the model's own stride, masks (N, H, W)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.data.targets import IGNORED_PIXEL
from distill.losses.checks import upcast
from distill.models.outputs import Outputs
from distill.tasks.base import Reader, Targets, Task
from distill.tasks.info import AGREEMENT, Metric
from distill.tasks.pixel_metrics import PixelMetrics, class_map, intersection_over_union
from distill.utils.errors import UserError
from distill.utils.units import percent


class Segmentation(Task):
    """Semantic segmentation.

    L_hard is cross-entropy, the mean over the pixels of a batch that have a class; a batch without any counts as 0.
    Where a model's logits are smaller than the mask, they are resized to it (bilinear) for the loss, the terms of
    L_soft and the metrics; the model and what is kept of it (its cache, its exported file) have the model's own size.
    The terms of L_soft see the pixels that have a class as rows (M, C); terms that compare rows see a random sample.

    Args:
        num_classes: C.
        rows: the most pixels that a term sees which compares rows with one another; what it keeps is their square.
        auxiliary: weight of the cross-entropy of a model's second head (torchvision's ``aux_classifier``) in training.
        score: the metric that chooses: "miou" (mean intersection over union), "acc" (pixels) or "agreement".

    Raises:
        UserError: a value out of range.
    """

    name = "segmentation"
    metric_infos = (Metric("miou", "mean IoU"), Metric("acc", "accuracy of pixels"), AGREEMENT)
    default_score = "miou"
    targets: ClassVar[Targets] = "masks"
    dims = 4

    def __init__(self, num_classes: int, rows: int = 4096, auxiliary: float = 0.4, score: str | None = None) -> None:
        super().__init__(num_classes, score)
        if not isinstance(rows, int) or rows < 2:
            raise UserError(f"task.rows must be a whole number of at least 2, got {rows!r}")
        if not 0 <= auxiliary < float("inf"):
            raise UserError(f"task.auxiliary must be a finite number of at least 0, got {auxiliary}")
        self.most_rows, self.auxiliary_weight = rows, float(auxiliary)

    def sized(self, output: Tensor, target: Tensor) -> Tensor:
        """Logits (N, C, H, W) at the size of masks (N, H, W), by bilinear interpolation where they have another."""
        if output.dim() != 4 or output.shape[2:] == target.shape[1:]:
            return output
        return F.interpolate(upcast(output), size=target.shape[1:], mode="bilinear", align_corners=False)

    def note(self, output: Sequence[int], inputs: Any) -> str | None:
        """That logits are resized, where they are smaller than the image."""
        own, full = (" x ".join(map(str, shape[2:])) for shape in (output, inputs.shape))
        return f"its logits of {own} are resized to the masks' {full} for loss and metrics" if own != full else None

    def supervised_loss(self, output: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Cross-entropy in nats, in float32, the mean over pixels that have a class; 0 of a batch without any.

        Args:
            output: logits (N, C, h, w).
            target: class numbers, uint8 (N, H, W); 255 where there is none.
            label_smoothing: in [0, 1).
        """
        pixels = (target != IGNORED_PIXEL).sum().clamp(min=1)
        logits = upcast(self.sized(output, target))
        settings: Any = {"ignore_index": IGNORED_PIXEL, "label_smoothing": label_smoothing, "reduction": "sum"}
        return F.cross_entropy(logits, target.long(), **settings) / pixels

    def weight(self, target: Tensor) -> int:
        """The number of pixels that have a class."""
        return int((target != IGNORED_PIXEL).sum())

    def rows(self, output: Tensor, target: Tensor | None = None) -> Tensor:
        """Logits (M, C) of the pixels that have a class; without a target, of all positions."""
        if target is None:
            return output.permute(0, 2, 3, 1).flatten(0, 2)
        return self.sized(output, target).permute(0, 2, 3, 1)[target != IGNORED_PIXEL]

    def row_targets(self, target: Tensor) -> Tensor:
        """The class of each of these pixels, int64 (M,)."""
        return target[target != IGNORED_PIXEL].long()

    def compared_rows(self, count: int, device: torch.device) -> Tensor | None:
        """So many of the rows as ``rows`` allows, drawn from torch's generator, which every step seeds."""
        return torch.randperm(count, device=device)[: self.most_rows] if count > self.most_rows else None

    def combined(
        self, outputs: Sequence[Tensor], target: Tensor, mean: Callable[[Sequence[Tensor], Tensor], Tensor]
    ) -> Tensor:
        """The logits (N, C, H, W) of every pixel's mean."""
        maps = [self.sized(output, target) for output in outputs]
        classes = target.long().masked_fill(target == IGNORED_PIXEL, 0).flatten()
        means = mean([self.rows(each) for each in maps], classes)
        n, classes_, height, width = maps[0].shape
        return means.reshape(n, height, width, classes_).permute(0, 3, 1, 2)

    def refusal(self, term: Reader) -> str | None:
        """Terms that need one class or one embedding per image are refused."""
        reads = {name.partition("_")[2] or name for name in term.all_reads}
        if {"embedding", "index"} & reads:
            return "it compares whole images, and here every pixel has a class"
        if "target" in reads and "logits" not in reads:
            return "it needs one class per image"
        if "logits" in reads and term.standardize and self.num_classes == 2:
            return "standardize=true makes every row of two logits alike"
        return None

    def metrics(self, with_agreement: bool) -> PixelMetrics:
        """Mean IoU, accuracy of pixels, and agreement: the share of pixels that student and teacher see alike."""
        return PixelMetrics(self.num_classes, with_agreement, self.sized)

    def weakness(self, scores: Mapping[str, float]) -> str | None:
        """That it finds hardly more than one class."""
        if scores["miou"] >= 1.5 / self.num_classes or scores["miou"] >= 0.9:
            return None
        return f"hardly better than one class for all pixels (mean IoU {percent(scores['miou'])})"

    def by_output(self, output: Tensor, target: Tensor) -> dict[str, list[float]]:
        """The IoU of every class; NaN of one that neither a mask nor a prediction has."""
        metric = PixelMetrics(self.num_classes, False, self.sized)
        metric.count(output, target)
        return {"IoU": intersection_over_union(metric.confusion.compute()).tolist()}

    def recorded(self, outputs: Outputs, target: Tensor) -> Tensor:
        """The class of every pixel, uint8 (N, H, W)."""
        return class_map(self.sized(outputs.at_target, target))

    def sample_losses(self, output: Tensor, target: Tensor) -> Tensor:
        """The share of each image's pixels that are wrong, float32 (N,), of logits or of what :meth:`recorded` gave."""
        valid = target != IGNORED_PIXEL
        wrong = (class_map(self.sized(output, target)) != target) & valid
        return wrong.flatten(1).sum(1) / valid.flatten(1).sum(1).clamp(min=1)

    def decode(self, output: Tensor, names: Sequence[str]) -> list[dict[str, Any]]:
        """The share of each image's pixels that every class takes, by name."""
        return [self._shares(each, names) for each in class_map(output)]

    def predicted_values(self, output: Tensor, names: Sequence[str], target: Tensor) -> dict[str, Any]:
        """The same of one image, of logits or of what :meth:`recorded` gave; pixels without a class do not count."""
        return self._shares(class_map(output[None])[0].masked_fill(target == IGNORED_PIXEL, IGNORED_PIXEL), names)

    def target_values(self, target: Tensor, names: Sequence[str]) -> dict[str, Any]:
        """The same of a mask."""
        return self._shares(target, names)

    def _shares(self, classes: Tensor, names: Sequence[str]) -> dict[str, Any]:
        counts = classes.flatten().long().bincount(minlength=256)[: len(names)]
        shares = counts / counts.sum().clamp(min=1)
        return {name: float(share) for name, share in zip(names, shares, strict=True)}

    def example_target(self, n: int, inputs: Any = None) -> Tensor:
        """Class numbers of all pixels, uint8 (n, H, W)."""
        size = (8, 8) if inputs is None else tuple(inputs.shape[2:])
        count = n * size[0] * size[1]
        return (torch.arange(count) % self.num_classes).reshape(n, *size).to(torch.uint8)
