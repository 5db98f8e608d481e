"""A split's images and labels, read one at a time, whatever they are stored in."""

import hashlib
import io
import warnings
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, BinaryIO

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from distill.data.vision.pixels import BrokenImageError, brightness, convert, is_deep, orientation
from distill.utils.errors import UserError, one_line
from distill.utils.files import image_formats

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # open_image refuses what it warns of


class ImageSet(ABC):
    """One split: images by position, and all their labels.

    Attributes:
        labels: class numbers, int64 (N,), or what else a model is to predict; see ``LabelledDataset``.
        channels: of every image: 1 or 3, or what the tensors have; None: as the images are.
        pixels: all the images as one tensor (N, C, H, W), uint8 or float32, where they are in memory anyway.
    """

    labels: Tensor
    channels: int | None = None
    pixels: Tensor | None = None
    masks: Any = None  # of images with masks; see ``distill.data.vision.masked``

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def image(self, row: int) -> Image.Image | Tensor:
        """The image at ``row``: a PIL image, or a uint8 or float tensor (C, H, W).

        Raises:
            BrokenImageError: if it cannot be read.
        """

    def reduced(self, row: int, at_least: int) -> Image.Image | Tensor:  # noqa: ARG002
        """The image, perhaps decoded smaller where that is cheaper, both sides at least ``at_least`` pixels long."""
        return self.image(row)

    def item(self, row: int, at_least: int | None = None) -> Any:
        """What a view is made of: the image, ``reduced`` where a size is enough; with its mask where it has one."""
        return self.image(row) if at_least is None else self.reduced(row, at_least)

    @abstractmethod
    def identity(self, rows: Tensor) -> bytes:
        """A digest that tells these rows' content from another's without decoding it all; independent of paths."""

    def name(self, row: int) -> str:
        """The image's name in error messages."""
        return f"image {row}"

    def check(self, row: int) -> tuple[int, int]:
        """Height and width, read as cheaply as possible; raises BrokenImageError where the image is cut short."""
        image = self.image(row)
        return (image.height, image.width) if isinstance(image, Image.Image) else (image.shape[-2], image.shape[-1])


class TensorImages(ImageSet):
    """Images that are in memory: one tensor (N, C, H, W), uint8 or float, and their labels.

    Labels are class numbers, integers (N,); several labels, 0 or 1, (N, C); or numbers, floats (N,) or (N, K).
    """

    def __init__(self, pixels: Tensor, labels: Tensor) -> None:
        if pixels.ndim != 4 or len(pixels) != len(labels):
            raise UserError(
                f"images must be (N, C, H, W) with N labels, got {tuple(pixels.shape)}, {len(labels)} labels"
            )
        if pixels.dtype != torch.uint8 and not pixels.is_floating_point():
            raise UserError(f"images must be a uint8 or float tensor, got {pixels.dtype}")
        self.pixels: Tensor = pixels if pixels.dtype == torch.uint8 else pixels.float()
        self.labels = labels.float() if labels.is_floating_point() or labels.ndim > 1 else labels.to(torch.int64)
        self.channels = pixels.shape[1]

    def image(self, row: int) -> Tensor:
        """The image at ``row``, (C, H, W)."""
        return self.pixels[row]

    def identity(self, rows: Tensor) -> bytes:
        """A digest of the pixels."""
        hasher = hashlib.sha256()
        for chunk in torch.split(rows, 4096):  # not a copy of them all
            hasher.update(self.pixels[chunk].contiguous().numpy().data)
        return hasher.digest()


class EncodedImages(ImageSet):
    """Images kept as the bytes of a file (JPEG, PNG, ...) and decoded when asked for.

    Images come upright, as viewers and the package ``datasets`` show them: EXIF orientation is applied.

    Args:
        channels: 3 (RGB) or 1 (grey).

    Raises:
        UserError: for another number of channels.
    """

    def __init__(self, channels: int) -> None:
        if channels not in (1, 3):
            raise UserError(f"data.source.channels must be 1 or 3, got {channels}")
        self.channels: int = channels

    @abstractmethod
    def open(self, row: int) -> BinaryIO:
        """The file, opened."""

    def identity(self, rows: Tensor) -> bytes:
        """A digest of the files' bytes."""
        hasher = hashlib.sha256()
        for row in rows.tolist():
            try:
                with self.open(row) as file:
                    content = file.read()
            except (OSError, ValueError):
                content = b""
            hasher.update(len(content).to_bytes(8, "big") + content)
        return hasher.digest()

    def image(self, row: int) -> Image.Image:
        """The decoded image, in mode L or RGB."""
        return self._decoded(row, None)

    def reduced(self, row: int, at_least: int) -> Image.Image:
        """A JPEG decoded at ½, ¼ or ⅛ of its size where that is enough: the decoder skips what is thrown away."""
        return self._decoded(row, at_least)

    def _decoded(self, row: int, at_least: int | None) -> Image.Image:
        try:
            with self.open(row) as file, open_image(file) as image:
                if at_least is not None:
                    image.draft(None, (at_least, at_least))  # only JPEG does anything with it
                return convert(image, self.channels, self._brightness if is_deep(image) else None)
        except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ...
            raise _broken(self.name(row), error) from error

    @cached_property
    def _brightness(self) -> dict[str, int]:
        def read(row: int) -> Image.Image | None:
            try:
                with self.open(row) as file, open_image(file) as image:
                    if is_deep(image):
                        image.load()
                        return image
            except Exception:
                return None
            return None

        return brightness(read, len(self))

    def check(self, row: int) -> tuple[int, int]:
        """Height and width from the header; decodes only deep images, and where the file's end looks wrong."""
        try:
            with self.open(row) as file, open_image(file) as image:
                if not _has_end_marker(file, image.format):
                    image.load()
                if is_deep(image):
                    convert(image, self.channels, self._brightness)
                height, width = image.height, image.width
                return (width, height) if orientation(image) > 4 else (height, width)
        except Exception as error:
            raise _broken(self.name(row), error) from error


def _broken(name: str, error: Exception) -> BrokenImageError:
    unknown = isinstance(error, UnidentifiedImageError)
    reason = "not an image that Pillow can read" if unknown else one_line(error)
    return BrokenImageError(f"{name} cannot be read: {reason}")


def open_image(file: BinaryIO | str) -> Image.Image:
    """An image that is not decoded yet.

    Raises:
        ValueError: it has more pixels than Pillow's limit, at which Pillow itself only warns.
    """
    image = Image.open(file, formats=image_formats())
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        image.close()
        raise ValueError(f"{image.width}×{image.height} pixels are more than Pillow's limit of {limit}")
    return image


def _has_end_marker(file: BinaryIO, file_format: str | None) -> bool:
    """Whether a JPEG or PNG is complete to its end marker; False for every other format."""
    position = file.tell()
    file.seek(max(0, file.seek(0, io.SEEK_END) - 12))
    end = file.read()
    file.seek(position)
    return (file_format == "JPEG" and end.endswith(b"\xff\xd9")) or (file_format == "PNG" and b"IEND" in end)
