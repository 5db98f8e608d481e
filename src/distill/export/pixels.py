"""Images as exported files take them, before normalisation."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from distill.data import DataModule
from distill.data.loader import Failure
from distill.utils.errors import UserError


@dataclass(frozen=True)
class Pixels:
    """Images (N, C, H, W), uint8 in 0..255 or float32, and their labels (N,)."""

    images: Tensor
    labels: Tensor


def pixels(data: DataModule, split: Literal["train", "test"], limit: int) -> Pixels:
    """At most ``limit`` images of a split at even distances, resized and cropped, not normalised.

    Raises:
        UserError: an image that cannot be read.
    """
    dataset = data.dataset(split, train=False)
    count = min(limit, len(dataset))
    positions = torch.linspace(0, len(dataset) - 1, count).round().long()
    try:
        images, kept = dataset.read(0, positions)
    except Exception as error:
        raise UserError(Failure(str(error)).message) from error
    return Pixels(images, dataset.split.images.labels[dataset.split.rows[kept]])
