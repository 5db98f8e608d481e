"""Random views of images: batched on uint8 tensors, or one file at a time."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from distill.utils.errors import UserError

_SLIM = 64  # how often an image's longer side may hold the shorter one; of a longer one only the middle is resized


@dataclass(frozen=True)
class Augment:
    """The training views of ``data.augment``; the defaults change nothing.

    Called with a batch, it crops, mirrors and cuts out, one choice per sample. Padding and cutout are black (0 before
    normalisation), as in the field's recipes.

    Args:
        crop_padding: black pixels added on each side before a random crop back to the image's size; the crop's offset
            is uniform over (2·crop_padding + 1)² positions. None: an eighth of the image's side (``ImageOptions``).
        flip: mirror a sample left to right with probability ½.
        cutout: side, in pixels, of a black square around a random pixel; it may hang over the edge. 0: none.
        scale: (low, high) share of an image's area that a random resized crop takes; None: no such crop. Given, it
            takes the place of ``crop_padding``, and images are read from their files every epoch.
        mixup: α of mixup, see ``distill.data.vision.mixing``; 0: none.
        cutmix: α of CutMix, likewise.

    Source: crop and flip, He et al. 2016 (arXiv:1512.03385); cutout, DeVries & Taylor 2017 (arXiv:1708.04552).

    Example:
        >>> images = torch.arange(4, dtype=torch.uint8).reshape(1, 1, 2, 2)
        >>> Augment(flip=True)(images, torch.zeros(1, 5))
        tensor([[[[1, 0],
                  [3, 2]]]], dtype=torch.uint8)
    """

    columns: ClassVar[int] = 5  # random numbers of one sample: crop's row and column, flip, cutout's row and column
    crop_padding: int | None = 0
    flip: bool = False
    cutout: int = 0
    scale: Sequence[float] | None = None
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for name in ("mixup", "cutmix"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"data.augment.{name} is alpha of Beta(alpha, alpha), 0 or more: {getattr(self, name)}")
        for name in ("crop_padding", "cutout"):
            if (getattr(self, name) or 0) < 0:
                raise UserError(f"data.augment.{name} must be 0 or more pixels, got {getattr(self, name)}")
        if self.scale is None:
            return
        scale = tuple(float(share) for share in self.scale)
        if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1:
            raise UserError(f"data.augment.scale must be [low, high] with 0 < low <= high <= 1, got {list(scale)}")
        if self.crop_padding:
            raise UserError(
                f"data.augment.scale and data.augment.crop_padding={self.crop_padding} are two kinds of crop: "
                "set crop_padding=0 or scale=null"
            )
        object.__setattr__(self, "scale", scale)

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        """Give each image its view, without ``scale``, mixup and CutMix.

        Args:
            images: (B, C, H, W), uint8 or float; not changed.
            u: (B, 5) uniform in [0, 1), from ``distill.data.rng.uniform``.

        Returns:
            A tensor like ``images``.
        """
        height, width = images.shape[-2:]
        if self.crop_padding:
            images = self._crop(images, u[:, 0], u[:, 1])
        if self.flip:
            images = torch.where((u[:, 2] < 0.5)[:, None, None, None], images.flip(3), images)
        if self.cutout:
            rows = _span(u[:, 3], height, self.cutout)[:, None, :, None]
            columns = _span(u[:, 4], width, self.cutout)[:, None, None, :]
            images = images.masked_fill(rows & columns, 0)
        return images

    def _crop(self, images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        p, (height, width) = self.crop_padding or 0, images.shape[-2:]
        padded = torch.nn.functional.pad(images, (p, p, p, p))
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (B, C, 2p + 1, 2p + 1, H, W), a view
        top, left = ((offset * (2 * p + 1)).long() for offset in (rows, columns))
        return windows[torch.arange(len(images), device=images.device), :, top, left]


def _span(u: Tensor, size: int, side: int) -> Tensor:
    """Which of ``size`` pixels lie within ``side`` around a random centre: bool (B, size)."""
    first = (u * size).long()[:, None] - side // 2
    pixel = torch.arange(size, device=u.device)
    return (pixel >= first) & (pixel < first + side)


class FileAugment:
    """A training view that needs the whole image: torchvision's random resized crop.

    Args:
        image_size: side of the square result in pixels.
        scale: (low, high) share of the image's area; the aspect ratio is between 3/4 and 4/3.

    Attributes:
        at_least: pixels of the image's shorter side from which even the smallest crop needs no enlarging.

    Source: Szegedy et al. 2015 (arXiv:1409.4842); the field's ImageNet recipe.
    """

    def __init__(self, image_size: int, scale: Sequence[float] = (0.08, 1.0)) -> None:
        from torchvision.transforms import v2

        self.at_least = math.ceil(image_size / math.sqrt(0.75 * scale[0]))
        self._crop: Callable[[Any], Any] = v2.RandomResizedCrop(image_size, scale=tuple(scale), antialias=True)

    def __call__(self, *item: Any) -> Any:
        """One view of one image, and of its mask where one is given; the choice comes from torch's global generator."""
        return self._crop(*item)


def fit(image: Image.Image | Tensor, size: int, shorter: int | None = None) -> Image.Image | Tensor:
    """An evaluation view: the shorter side resized to ``shorter`` pixels, then the central ``size`` × ``size``.

    Args:
        image: of any size; a tensor is C×H×W.
        size: side of the result.
        shorter: None means ``size``: nothing is cut away from a square image.

    Returns:
        An image of the same kind (an image that has the right size already: itself).
    """
    shorter = size if shorter is None else shorter
    height, width = (image.height, image.width) if isinstance(image, Image.Image) else image.shape[-2:]
    if (height, width) == (size, size) == (shorter, shorter):
        return image
    low, high = min(height, width), max(height, width)
    if high > _SLIM * low:
        return fit(_middle(image, height, width, _SLIM * low), size, shorter)
    long = max(shorter, math.floor(shorter * high / low))
    height, width = (shorter, long) if height <= width else (long, shorter)
    top, left = round((height - size) / 2), round((width - size) / 2)
    if isinstance(image, Image.Image):
        resized = image.resize((width, height), Image.Resampling.BILINEAR)
        return resized.crop((left, top, left + size, top + size))
    tensor = torch.nn.functional.interpolate(
        image[None].float(), (height, width), mode="bilinear", antialias=True, align_corners=False
    )[0, :, top : top + size, left : left + size]
    return tensor.round().clamp(0, 255).to(torch.uint8) if image.dtype == torch.uint8 else tensor


def _middle(image: Image.Image | Tensor, height: int, width: int, longest: int) -> Image.Image | Tensor:
    """An image without the ends of its longer side."""
    top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
    if isinstance(image, Image.Image):
        return image.crop((left, top, min(width, left + longest), min(height, top + longest)))
    return image[:, top : top + longest, left : left + longest]
