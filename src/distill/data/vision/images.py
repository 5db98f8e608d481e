"""A split's images and labels, read one at a time, whatever they are stored in."""

import hashlib
import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, BinaryIO, cast

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Subset

from distill.utils.errors import UserError


class BrokenImageError(Exception):
    """An image that cannot be read; the message names it and says why, in one line."""


class ImageSet(ABC):
    """One split: images by position, and all their labels.

    Attributes:
        labels: class numbers, int64 (N,).
        channels: of every image: 1 or 3, or what the tensors have; None: as the images are.
        pixels: all the images as one tensor (N, C, H, W), uint8 or float32, where they are in memory anyway.
    """

    labels: Tensor
    channels: int | None = None
    pixels: Tensor | None = None

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

    @abstractmethod
    def identity(self, rows: Tensor) -> bytes:
        """A digest that tells these rows' content from another's without decoding it all; independent of paths."""

    def name(self, row: int) -> str:
        """How an error calls the image."""
        return f"image {row}"

    def check(self, row: int) -> tuple[int, int]:
        """Height and width, read as cheaply as possible; raises BrokenImageError where the image is cut short."""
        image = self.image(row)
        return (image.height, image.width) if isinstance(image, Image.Image) else (image.shape[-2], image.shape[-1])


class TensorImages(ImageSet):
    """Images that are in memory: one tensor (N, C, H, W), uint8 or float, and integer labels (N,)."""

    def __init__(self, pixels: Tensor, labels: Tensor) -> None:
        if pixels.ndim != 4 or len(pixels) != len(labels):
            raise UserError(
                f"images must be (N, C, H, W) with N labels, got {tuple(pixels.shape)}, {len(labels)} labels"
            )
        self.pixels: Tensor = pixels if pixels.dtype == torch.uint8 else pixels.float()
        self.labels = labels.to(torch.int64)
        self.channels = pixels.shape[1]

    def image(self, row: int) -> Tensor:
        """The image at ``row``, (C, H, W)."""
        return self.pixels[row]

    def identity(self, rows: Tensor) -> bytes:
        """A digest of the pixels."""
        hasher = hashlib.sha256()
        for some in torch.split(rows, 4096):  # not a copy of them all
            hasher.update(self.pixels[some].contiguous().numpy().data)
        return hasher.digest()


class EncodedImages(ImageSet):
    """Images kept as the bytes of a file (JPEG, PNG, ...) and decoded when asked for.

    EXIF orientation is not applied (nor is it in torchvision's ImageFolder): pixels come as the file stores them.
    """

    channels: int  # 1: grey, 3: RGB

    @abstractmethod
    def open(self, row: int) -> BinaryIO:
        """The file, opened."""

    def image(self, row: int) -> Image.Image:
        """The decoded image, in mode L or RGB."""
        return self._decoded(row, None)

    def reduced(self, row: int, at_least: int) -> Image.Image:
        """A JPEG decoded at ½, ¼ or ⅛ of its size where that is enough: the decoder skips what is thrown away."""
        return self._decoded(row, at_least)

    def _decoded(self, row: int, at_least: int | None) -> Image.Image:
        try:
            with self.open(row) as file, Image.open(file) as image:
                if at_least is not None:
                    image.draft(None, (at_least, at_least))  # only JPEG does anything with it
                return convert(image, self.channels)
        except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ...
            raise self._broken(row, error) from error

    def check(self, row: int) -> tuple[int, int]:
        """Height and width from the header; decodes only where the end of the file looks wrong."""
        try:
            with self.open(row) as file, Image.open(file) as image:
                if not _ends_well(file, image.format):
                    image.load()
                return image.height, image.width
        except Exception as error:
            raise self._broken(row, error) from error

    def _broken(self, row: int, error: Exception) -> BrokenImageError:
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "not an image that Pillow can read"
        return BrokenImageError(f"{self.name(row)} cannot be read: {reason}")


def _ends_well(file: BinaryIO, kind: str | None) -> bool:
    """Whether a JPEG or PNG has its end marker; False for every other format."""
    place = file.tell()
    file.seek(max(0, file.seek(0, io.SEEK_END) - 12))
    end = file.read()
    file.seek(place)
    return (kind == "JPEG" and end.endswith(b"\xff\xd9")) or (kind == "PNG" and b"IEND" in end)


def convert(image: Image.Image, channels: int) -> Image.Image:
    """A PIL image of any mode as L (1 channel) or RGB (3); alpha is dropped, 16-bit grey becomes 8-bit."""
    mode = "L" if channels == 1 else "RGB"
    if image.mode.startswith("I"):
        array = np.asarray(image).astype(np.int64) >> 8
        image = Image.fromarray(array.clip(0, 255).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode != mode:
        return image.convert(mode)
    image.load()
    return image


def to_tensor(image: Image.Image | Tensor) -> Tensor:
    """Any image as a tensor (C, H, W): uint8, or float32 where it was float."""
    if isinstance(image, Image.Image):
        array = np.array(image)
        return torch.from_numpy(array[None] if array.ndim == 2 else array.transpose(2, 0, 1))
    return image if image.dtype == torch.uint8 else image.float()


def digest(tensor: Tensor) -> bytes:
    """SHA-256 of a tensor's bytes."""
    return hashlib.sha256(tensor.contiguous().numpy().data).digest()


class DatasetImages(ImageSet):
    """Any map-style dataset that gives (image, label) pairs."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        if not len(dataset):
            raise UserError(f"the dataset {type(dataset).__name__} is empty")
        self.labels = _labels(dataset)
        first = self.image(0)
        self.channels = len(first.getbands()) if isinstance(first, Image.Image) else first.shape[0]

    def image(self, row: int) -> Image.Image | Tensor:
        """The image of the dataset's pair at ``row``."""
        try:
            image = self.dataset[row][0]
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise BrokenImageError(f"{self.name(row)} cannot be read: {reason}") from error
        return _image(image, self.channels, self.name(row))

    def name(self, row: int) -> str:
        """Position and class of the dataset."""
        return f"image {row} of {type(self.dataset).__name__}"

    def identity(self, rows: Tensor) -> bytes:
        """A digest of at most 64 images spread over the rows; the rest is taken on trust."""
        spread = rows[:: max(1, len(rows) // 64)].tolist()
        return b"".join(digest(to_tensor(self.image(row))) for row in spread)


def _image(image: Any, channels: int | None, name: str) -> Image.Image | Tensor:
    if isinstance(image, Image.Image):
        return convert(image, channels or (1 if image.mode in ("1", "L", "LA") or image.mode.startswith("I") else 3))
    if isinstance(image, np.ndarray):
        if image.ndim == 3 and image.shape[2] in (1, 3) and image.dtype == np.uint8 and image.shape[0] not in (1, 3):
            image = image.transpose(2, 0, 1)  # numpy's H×W×C
        image = torch.from_numpy(np.ascontiguousarray(image))
    if isinstance(image, Tensor):
        image = image[None] if image.ndim == 2 else image
        if image.ndim == 3 and (image.dtype == torch.uint8 or image.is_floating_point()):
            return cast(Tensor, image)
        raise UserError(f"{name} must be a uint8 or float C×H×W tensor, got {image.dtype} {tuple(image.shape)}")
    raise UserError(f"{name} must be a PIL image, a tensor or an array, got {type(image).__name__}")


def _labels(dataset: Any) -> Tensor:
    """All labels: from an attribute where there is one that agrees with the pairs, else by reading every pair."""
    known = _listed_labels(dataset)
    if known is not None and all(int(known[row]) == dataset[row][1] for row in (0, len(dataset) - 1)):
        return known
    return _integers([dataset[row][1] for row in range(len(dataset))], type(dataset).__name__)


def _listed_labels(dataset: Any) -> Tensor | None:
    if isinstance(dataset, Subset):
        inner = _listed_labels(dataset.dataset)
        return None if inner is None else inner[torch.as_tensor(dataset.indices)]
    for attribute in ("targets", "labels"):
        values = getattr(dataset, attribute, None)
        if isinstance(values, Sequence | np.ndarray | Tensor) and len(values) == len(dataset):
            try:
                return _integers(values, type(dataset).__name__)
            except UserError:
                return None
    return None


def _integers(values: Any, name: str) -> Tensor:
    try:
        array = np.asarray(values)
        if array.ndim == 1 and array.dtype.kind in "iu":
            return torch.from_numpy(array.astype(np.int64))
        reason = f"{array.dtype} of shape {array.shape}"
    except (TypeError, ValueError) as error:
        reason = str(error)
    raise UserError(f"the labels of {name} must be integers, one per image, got {reason}")


def as_image_set(data: Any) -> ImageSet:
    """Take an ImageSet as it is and wrap any map-style dataset of (image, label) pairs.

    Raises:
        UserError: if ``data`` has no length or no items, or gives something else.
    """
    if isinstance(data, ImageSet):
        return data
    if not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        raise UserError(
            f"a split must be a map-style dataset of (image, label) pairs or an ImageSet, got {type(data).__name__}"
        )
    return DatasetImages(data)
