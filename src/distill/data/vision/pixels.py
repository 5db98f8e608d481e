"""Pixels of any storage as 8 bits or floats, channels first: what is meant is clear, or it is an error."""

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

_SAMPLE = 64  # images that decide what full brightness is
_EPSILON = 1e-6


class BrokenImageError(ValueError):
    """An image that cannot be read; the message names it and says why, in one line."""


def sample(rows: int, size: int = _SAMPLE) -> list[int]:
    """At most ``size`` of so many rows, spread over them, the first and the last among them."""
    return torch.linspace(0, rows - 1, min(size, rows)).round().long().tolist() if rows else []


def is_deep(image: Any) -> bool:
    """Whether an image has whole numbers of more than 8 bits, or (PIL only) floats."""
    if isinstance(image, Image.Image):
        return image.mode == "F" or image.mode.startswith("I")
    if isinstance(image, Tensor):
        return image.dtype not in (torch.uint8, torch.bool) and not image.is_floating_point()
    return isinstance(image, np.ndarray) and image.dtype.kind in "iu" and image.dtype != np.uint8


def brightness(read: Callable[[int], Any], rows: int) -> dict[str, int]:
    """What full brightness is in deep images, from the largest values of a sample.

    Args:
        read: an image by its row; what is not deep does not count.
        rows: their number.

    Returns:
        Of float images ("f") 1 or 255, of whole numbers ("i") 255 or 65,535; a kind without images is missing.
    """
    largest: dict[str, float] = {}
    for row in sample(rows):
        image = read(row)
        if is_deep(image):
            values = np.asarray(image)
            kind = "f" if values.dtype.kind == "f" else "i"
            largest[kind] = max(largest.get(kind, 0), float(values.max(initial=0, where=np.isfinite(values))))
    limits = {"f": (1 + _EPSILON, 1, 255), "i": (255, 255, 65_535)}
    full: dict[str, int] = {}
    for kind, value in largest.items():
        limit, low, high = limits[kind]
        full |= {kind: low if value <= limit else high} if value > 0 else {}
    return full


def is_finite(image: Tensor) -> bool:
    """Whether an image has neither NaN nor infinite values, which its sum tells sooner than a look at each."""
    return not image.is_floating_point() or math.isfinite(image.sum()) or bool(image.isfinite().all())


def eight_bit(values: np.ndarray, full: Mapping[str, int] | None = None) -> np.ndarray:
    """Floats, or whole numbers of any type, as uint8.

    Args:
        values: in the ranges 0..1 or 0..255 (floats), 0..255 or 0..65,535 (whole numbers).
        full: what ``brightness`` says of the images; None: as these values alone suggest.

    Raises:
        ValueError: for NaN, infinite values and values outside the range of the other images.
    """
    kind = "f" if values.dtype.kind == "f" else "i"
    if not np.isfinite(values).all():
        raise ValueError("it has NaN or infinite values")
    low, high = values.min(initial=0), values.max(initial=0)
    scale = (full or {}).get(kind) or (1 if kind == "f" and high <= 1 + _EPSILON else 255 if high <= 255 else 65_535)
    is_16_bit = values.dtype.kind == "u" and values.dtype.itemsize == 2
    if is_16_bit and full and scale == 255:
        raise ValueError("it has 16 bits, but no image seems to use more than 8 of them: save them with 8 bits")
    scale = 65_535 if is_16_bit else min(scale, 255) if kind == "f" else scale
    dark = {1: 0, 255: 2 if kind == "f" else 0, 65_535: 0 if is_16_bit else 255}[scale]  # likely of another range
    if low < 0 or high > scale * (1 + _EPSILON) or 0 < high <= dark:
        ranges = "0..1 or 0..255" if kind == "f" else "0..255 or 0..65535"
        raise ValueError(f"its values reach from {low:g} to {high:g}; all images must have one range, {ranges}")
    if scale == 65_535:
        return np.asarray(values.astype(np.int64) >> 8, np.uint8)
    return np.asarray((values * (255 / scale)).round().clip(0, 255), np.uint8)


def orientation(image: Image.Image) -> int:
    """EXIF's: 1 is upright, of 5 to 8 width and height change places. Pillow itself turns TIFFs, and nothing else."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1)) if "exif" in image.info else 1
    except Exception:  # EXIF data that cannot be read say nothing of the pixels
        return 1


def convert(image: Image.Image, channels: int, full: Mapping[str, int] | None = None) -> Image.Image:
    """A PIL image of any mode as L (1 channel) or RGB (3), upright as its EXIF data say; alpha is dropped.

    Floats and whole numbers of more than 8 bits become 8 bits, see ``eight_bit``.
    """
    mode = "L" if channels == 1 else "RGB"
    image.load()  # PNG's EXIF data may stand behind the pixels
    if 1 < orientation(image) <= 8:
        image = ImageOps.exif_transpose(image)
    if is_deep(image):
        image = Image.fromarray(eight_bit(np.asarray(image), full))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode != mode:
        return image.convert(mode)
    return image


def to_tensor(image: Image.Image | Tensor) -> Tensor:
    """Any image as a tensor (C, H, W): uint8, or float32 where it was float.

    Raises:
        BrokenImageError: for a tensor of whole numbers of another type.
    """
    if isinstance(image, Image.Image):
        array = np.array(image)
        return torch.from_numpy(array[None] if array.ndim == 2 else array.transpose(2, 0, 1))
    if image.dtype != torch.uint8 and not image.is_floating_point():
        raise BrokenImageError(f"an image must be a uint8 or float tensor, got {image.dtype}")
    return image if image.dtype == torch.uint8 else image.float()


def is_channels_last(shape: tuple[int, ...], is_tensor: bool) -> bool:
    """Whether an image of three axes is H×W×C and not C×H×W.

    An axis of 1, 3 or 4 values looks like channels, two axes of one length like height and width. Numpy's arrays are
    what they look like; a tensor is C×H×W unless both signs say otherwise.

    Raises:
        ValueError: where the shape leaves it open.
    """
    first, middle, last = shape
    lead = (last in (1, 3, 4)) + (first == middle) - (first in (1, 2, 3, 4)) - (middle == last)
    if (lead == 1 and is_tensor) or (lead == 0 and not is_tensor):
        raise ValueError(f"{first}×{middle}×{last} may be C×H×W or H×W×C: give a torch tensor C×H×W, H and W larger")
    return lead > 0


def digest(tensor: Tensor) -> bytes:
    """SHA-256 of a tensor's bytes."""
    return hashlib.sha256(tensor.contiguous().numpy().data).digest()
