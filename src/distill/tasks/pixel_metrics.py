"""Metrics of class maps: intersection over union, and the share of pixels that are right."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from distill.data.targets import IGNORED_PIXEL
from distill.models.outputs import Outputs


def class_map(output: Tensor) -> Tensor:
    """The likeliest class of every pixel, uint8 (N, H, W), of logits (N, C, H, W); a class map as it is."""
    return output.argmax(1).to(torch.uint8) if output.dim() == 4 else output


def intersection_over_union(confusion: Tensor) -> Tensor:
    """IoU of every class, float64 (C,): TP / (TP + FP + FN); NaN of a class that is neither there nor predicted.

    Args:
        confusion: pixels by their class (rows) and the predicted one, (C, C).

    Source: Everingham et al. 2010, "The Pascal Visual Object Classes Challenge", doi:10.1007/s11263-009-0275-4.

    Example:
        >>> intersection_over_union(torch.tensor([[3, 1], [0, 0]]))
        tensor([0.7500, 0.0000], dtype=torch.float64)
    """
    counts = confusion.double()
    right = counts.diagonal()
    return right / (counts.sum(0) + counts.sum(1) - right)


class PixelMetrics(nn.Module):
    """Mean IoU over all pixels of a split together, accuracy of pixels, and agreement with the teacher.

    Args:
        num_classes: C.
        with_agreement: whether there is a teacher to agree with.
        sized: logits (N, C, h, w) at the size of masks.
    """

    def __init__(self, num_classes: int, with_agreement: bool, sized: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        settings = {"ignore_index": IGNORED_PIXEL, "validate_args": False}
        self.confusion = MulticlassConfusionMatrix(num_classes, **settings)  # type: ignore[arg-type]
        self.agreement = MulticlassAccuracy(num_classes, average="micro", **settings) if with_agreement else None  # type: ignore[arg-type]
        self._sized = sized

    def count(self, output: Tensor, target: Tensor) -> Tensor:
        """Count the pixels of a batch; returns the class map."""
        predicted = class_map(self._sized(output.detach(), target))
        self.confusion.update(predicted.long(), target.long())
        return predicted

    def update(self, student: Outputs, teacher: Outputs | None, target: Tensor) -> None:
        """Take one batch: logits (N, C, h, w) or class maps (N, H, W), and masks (N, H, W)."""
        predicted = self.count(student.at_target, target)
        if teacher is not None and self.agreement is not None:
            expected = class_map(self._sized(teacher.at_target, target))
            self.agreement.update(predicted.long(), expected.masked_fill(target == IGNORED_PIXEL, IGNORED_PIXEL).long())

    def compute(self) -> dict[str, Tensor]:
        """The values by name, over all processes, and reset; no agreement where there was no teacher output."""
        values = {}
        if self.confusion.update_called:
            counts = self.confusion.compute()
            values["miou"] = intersection_over_union(counts).nanmean().nan_to_num().float()
            values["acc"] = (counts.diagonal().sum() / counts.sum().clamp(min=1)).float()
        self.confusion.reset()
        if self.agreement is not None:
            if self.agreement.update_called:
                values["agreement"] = self.agreement.compute().float()
            self.agreement.reset()
        return values
