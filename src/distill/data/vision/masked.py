"""Images with a mask each, the class of every pixel: read, fitted and augmented together.

While an image is read and augmented, its mask is one more plane of it, whose values are 255 − class. A pixel without a
class (255) is 0 there, as black is in the image: padding and cutout leave pixels without a class.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from distill.data.targets import IGNORED_PIXEL
from distill.data.vision.augment import fit
from distill.data.vision.images import EncodedImages, ImageSet, open_image
from distill.data.vision.pixels import BrokenImageError, to_tensor
from distill.utils.errors import one_line

_COLOURS = {"RGB": 3, "RGBA": 3, "LA": 1}  # modes of several channels, and how many of them are colours


def mask_values(image: Image.Image) -> np.ndarray:
    """The numbers of a mask, (H, W): palette indices, or grey values.

    Raises:
        ValueError: it is a picture in colours.
    """
    values = np.asarray(image)
    if image.mode in _COLOURS:
        colours = values[..., : _COLOURS[image.mode]]
        if (colours != colours[..., :1]).any():
            raise ValueError(
                "it is a picture in colours, and a mask holds class numbers: save it as palette or grey PNG"
            )
        values = colours[..., 0]
    if values.ndim != 2:
        raise ValueError(f"its mode is {image.mode}, and a mask is a palette or grey PNG")
    return values.astype(np.uint8) if values.dtype == bool else values


def read_mask(masks: EncodedImages, row: int) -> tuple[np.ndarray, str | None]:
    """The numbers of a mask (H, W), and the format of its file.

    Raises:
        BrokenImageError: it cannot be read.
    """
    try:
        with masks.open(row) as file, open_image(file) as image:
            return mask_values(image), image.format
    except Exception as error:  # as of images
        raise BrokenImageError(f"the mask {masks.name(row)} cannot be read: {one_line(error)}") from error


class MaskedImages(ImageSet):
    """Images, and the mask of each.

    Args:
        images: as their files have them.
        masks: the files of their masks, in the same order.
        classes: the class of every value of a mask, uint8 (256,); 255: none.
    """

    def __init__(self, images: EncodedImages, masks: EncodedImages, classes: np.ndarray) -> None:
        self.images = images
        self.masks: EncodedImages = masks
        self.channels = images.channels
        self.labels = torch.zeros(len(images), dtype=torch.int64)
        self._classes = classes

    def name(self, row: int) -> str:
        """The image's."""
        return self.images.name(row)

    def image(self, row: int) -> Image.Image:
        """The decoded image."""
        return self.images.image(row)

    def check(self, row: int) -> tuple[int, int]:
        """Height and width of the image."""
        return self.images.check(row)

    def mask(self, row: int) -> np.ndarray:
        """Class numbers, uint8 (H, W); 255 where there is none."""
        return np.asarray(self._classes[read_mask(self.masks, row)[0]])

    def item(self, row: int, at_least: int | None = None) -> tuple[Image.Image, Image.Image]:  # noqa: ARG002 - as large
        """The image, and its mask's plane as a grey image."""
        return self.image(row), Image.fromarray(IGNORED_PIXEL - self.mask(row))

    def renumbered(self, numbers: Tensor) -> "MaskedImages":
        """The same with other class numbers: of each present one its new one, int64 (C,)."""
        classes = np.append(numbers.numpy(), [IGNORED_PIXEL] * (256 - len(numbers))).astype(np.uint8)
        return MaskedImages(self.images, self.masks, classes[self._classes])

    def identity(self, rows: Tensor) -> bytes:
        """A digest of the content of images and masks, and of what the masks' values mean."""
        parts = (self.images.identity(rows), self.masks.identity(rows), self._classes.tobytes())
        return hashlib.sha256(b"".join(parts)).digest()


def letterbox(image: Image.Image | Tensor, size: int, nearest: bool = False) -> Image.Image | Tensor:
    """A whole image in a square: its longer side made smaller where it is above ``size``, black on either side of it.

    Args:
        image: of any size; a tensor is C×H×W.
        size: side of the result.
        nearest: take the nearest pixel, as of masks; else bilinear, antialiased.
    """
    from torchvision.transforms.v2 import InterpolationMode, functional

    height, width = functional.get_size(image)
    mode = InterpolationMode.NEAREST_EXACT if nearest else InterpolationMode.BILINEAR
    image = functional.resize(image, list(inner_size(height, width, size)), mode)
    squared: Image.Image | Tensor = functional.center_crop(image, [size, size])
    return squared


def inner_size(height: int, width: int, size: int) -> tuple[int, int]:
    """Height and width that an image has within :func:`letterbox`."""
    scale = min(1.0, size / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def unboxed(classes: Tensor, height: int, width: int) -> Tensor:
    """The class map (S, S) of a :func:`letterbox`, uint8, at the size of the image in it, by the nearest pixel."""
    from torchvision.transforms.v2 import InterpolationMode, functional

    size = classes.shape[-1]
    inner_height, inner_width = inner_size(height, width, size)
    top, left = (size - inner_height) // 2, (size - inner_width) // 2  # as center_crop pads; it crops otherwise
    inner = classes[None, top : top + inner_height, left : left + inner_width]
    resized: Tensor = functional.resize(inner, [height, width], InterpolationMode.NEAREST_EXACT)[0]
    return resized


def fitted(item: Any, size: int, shorter: int | None = None) -> Any:
    """An item's evaluation view: see ``fit``; of an image with its mask both by :func:`letterbox`."""
    if not isinstance(item, tuple):
        return fit(item, size, shorter)
    return letterbox(item[0], size), letterbox(item[1], size, nearest=True)


def transformed(item: Any, transform: Callable[..., Any]) -> Any:
    """An item's training view; of an image with its mask by a transform of torchvision's v2, which takes both.

    Raises:
        BrokenImageError: the transform returns something else.
    """
    if not isinstance(item, tuple):
        view = transform(item)
        if not isinstance(view, Image.Image | Tensor):
            raise BrokenImageError(f"data.transform must return an image or a tensor, got {type(view).__name__}")
        return view
    from torchvision.tv_tensors import Mask

    try:
        view, mask = transform(item[0], Mask(to_tensor(item[1])))
    except (TypeError, ValueError) as error:
        raise BrokenImageError(
            "data.transform must take an image and its mask, and return both, as torchvision.transforms.v2 do: "
            f"{one_line(error)}"
        ) from error
    return view, mask.as_subclass(Tensor)


def planes(item: Any) -> Tensor:
    """An image as a tensor (C, H, W), with its mask as one more plane where it has one.

    Raises:
        BrokenImageError: the two differ in size.
    """
    if not isinstance(item, tuple):
        return to_tensor(item)
    image, mask = to_tensor(item[0]), to_tensor(item[1])
    if image.dtype != torch.uint8 or image.shape[1:] != mask.shape[1:]:
        raise BrokenImageError(
            f"an image with its mask must be uint8 and of the mask's size, got {image.dtype} {tuple(image.shape)} and "
            f"{tuple(mask.shape)}"
        )
    return torch.cat([image, mask.to(torch.uint8)])


def classes_of(plane: Tensor) -> Tensor:
    """Class numbers of the masks' planes, uint8 (B, H, W); 255 where there is none."""
    return IGNORED_PIXEL - plane
