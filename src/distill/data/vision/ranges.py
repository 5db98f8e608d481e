"""Ranges of values: those of all splits must be one, and the normalisation must fit it."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from distill.data.vision.load import LoadedSplit
from distill.data.vision.pixels import BrokenImageError, sample, to_tensor
from distill.data.vision.preprocess import Scaling
from distill.utils.errors import UserError

log = logging.getLogger(__name__)

_CONVENTIONS = ((0, 1), (-1, 1), (0, 255))
_FAR = 32  # so much larger are not the images of one range; 0..1 and 0..255 differ by 255
_UNFIT = 8


@dataclass(frozen=True)
class _Values:
    """Of a sample of a split's images; bytes count as x/255."""

    is_byte: bool
    low: float = 0.0
    high: float = 1.0
    rms: float = 0.0

    @property
    def convention(self) -> tuple[int, int] | None:
        """The usual range that the values fill."""
        if self.is_byte:
            return _CONVENTIONS[0]
        for low, high in _CONVENTIONS:
            width = high - low
            if -0.01 <= (self.low - low) / width <= 0.25 and -0.01 <= (high - self.high) / width <= 0.25:
                return low, high
        return None

    def __str__(self) -> str:
        return "0..255 as bytes" if self.is_byte else f"{self.low:.4g}..{self.high:.4g} as floats"


def check_ranges(splits: Mapping[str, LoadedSplit], scaling: Scaling | None) -> None:
    """Check that all splits have one range of values, and that the normalisation is of this range.

    Args:
        splits: all of them; those carved out of the training images have its range.
        scaling: None: it comes from the training images. Mean 0 and standard deviation 1 fit every range.

    Raises:
        UserError: for ranges such as 0..1 and 0..255, or a mean and standard deviation of another range.
    """
    values = {name: _values(split) for name, split in splits.items()}
    train = values["train"]
    for name, other in values.items():
        if splits[name].dataset is splits["train"].dataset or (other.is_byte and train.is_byte):
            continue
        conventions = {train.convention, other.convention} - {None}
        small, large = sorted((train.rms, other.rms))
        if len(conventions) > 1 or large > _FAR * small > 0:
            raise UserError(
                f"train images have values {train} and {name} images {other}: give all in one range, as 0..1"
            )
    if scaling is None or (not any(scaling.mean) and set(scaling.std) == {1.0}):
        return
    expected = float(torch.tensor([*scaling.mean, *scaling.std]).square().sum().div(len(scaling.mean)).sqrt())
    if train.rms > _UNFIT * expected or expected > _UNFIT * max(abs(train.low), abs(train.high)) > 0:
        raise UserError(
            f"data.mean={_shown(scaling.mean)} and data.std={_shown(scaling.std)} are of another range than the images "
            f"({train}{', which count as 0..1' if train.is_byte else ''}): give their mean and standard deviation"
        )


def check_contents(train: LoadedSplit) -> None:
    """Warns where every training image of a sample has one colour alone, as a drawing in transparency has."""
    images = list(_sample(train))
    if images and all(bool((image.flatten(1) == image.flatten(1)[:, :1]).all()) for image in map(to_tensor, images)):
        log.warning(
            "each of the %d training images that were looked at is of one colour: there is nothing in them to learn "
            "from, unless it is in their transparency, which is dropped",
            len(images),
        )


def _shown(numbers: tuple[float, ...]) -> str:
    return f"[{', '.join(f'{number:.4g}' for number in numbers)}]"


def _values(split: LoadedSplit) -> _Values:
    """Of images that are floats, the values; bytes have a range that is known."""
    pixels: list[Tensor] = []
    for image in _sample(split):
        if isinstance(image, Image.Image) or image.dtype == torch.uint8:
            return _Values(is_byte=True)
        pixels.append(to_tensor(image).flatten())
    if not pixels:
        return _Values(is_byte=True)
    values = torch.cat(pixels)
    return _Values(False, float(values.min()), float(values.max()), float(values.square().mean().sqrt()))


def _sample(split: LoadedSplit) -> Iterator[Image.Image | Tensor]:
    for position in sample(len(split.rows)):
        if split.pixels is not None:
            yield split.pixels[split.at[position], : split.channels]
            continue
        try:
            yield split.dataset.image(int(split.rows[position]))
        except BrokenImageError:
            continue  # it is reported, or skipped, where it is read
