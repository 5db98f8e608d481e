"""Any map-style dataset of images and labels as an image set."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import IterableDataset

from distill.data.column_names import usual_columns
from distill.data.targets import Targets
from distill.data.vision.images import ImageSet
from distill.data.vision.map_labels import all_labels, class_names, is_label
from distill.data.vision.pixels import (
    BrokenImageError,
    brightness,
    convert,
    digest,
    eight_bit,
    is_channels_last,
    is_deep,
    is_finite,
    sample,
    to_tensor,
)
from distill.utils.errors import UserError, one_line
from distill.utils.processes import map_in_threads

log = logging.getLogger(__name__)


class DatasetImages(ImageSet):
    """Any map-style dataset that gives pairs (image, label) or mappings with an image and a label.

    Args:
        dataset: for targets "none" its items may be images alone.
        targets: what a label is: a class number; 0 or 1 of each label; a number or several.
    """

    _is_float: bool | None = None  # set by the first image, as channels are

    def __init__(self, dataset: Any, targets: Targets = "classes") -> None:
        self.dataset = dataset
        self.targets = targets
        if not len(dataset):
            raise UserError(f"the dataset {type(dataset).__name__} is empty")
        self._digests = np.zeros((len(dataset), 32), np.uint8)  # of the images that were read; zeros: not yet
        self.classes = class_names(dataset) if targets == "classes" else None
        try:
            self.labels = all_labels(dataset, lambda row: self._pair(row)[1], targets)
        except BrokenImageError as error:
            raise UserError(str(error)) from error
        self._listed: list[Any] = self.labels.tolist()  # whatever the labels are numbered by later
        first = self._first()
        self.channels = first.shape[0]
        self._is_float = first.is_floating_point()

    def _first(self) -> Tensor:
        """The first image of a sample that can be read."""
        reason: BrokenImageError | None = None
        for row in sample(len(self.dataset)):
            try:
                return to_tensor(self.image(row))
            except BrokenImageError as error:
                reason = reason or error
        raise UserError(str(reason)) from reason

    def image(self, row: int) -> Image.Image | Tensor:
        """The image of the dataset's pair at ``row``, whose label must be the one that the dataset lists for it."""
        image, label = self._pair(row)
        listed = self._listed[row]
        if self.targets != "none" and not is_label(label, listed):
            raise UserError(
                f"the label of {self.name(row)} is {label!r}, and {listed} in the dataset's list of labels or when it "
                "was read before: make them agree"
            )
        try:
            result = _image(image, self.channels, self._brightness if is_deep(image) else None)
            if self._is_float not in (None, isinstance(result, Tensor) and result.is_floating_point()):
                raise ValueError("some images are floats and some are not: give all as floats (0..1), or all as uint8")
            return result
        except Exception as error:
            raise BrokenImageError(f"{self.name(row)} cannot be read: {one_line(error)}") from error

    def name(self, row: int) -> str:
        """Position and class of the dataset."""
        return f"image {row} of {type(self.dataset).__name__}"

    def check(self, row: int) -> tuple[int, int]:
        """Height and width; the image's digest is kept for ``identity``."""
        pixels = to_tensor(self.image(row))
        self._digests[row] = np.frombuffer(digest(pixels), np.uint8)
        return pixels.shape[-2], pixels.shape[-1]

    def identity(self, rows: Tensor) -> bytes:
        """A digest of all the images: those that were not checked are read for it, which takes as long as an epoch."""
        unread = rows[~torch.from_numpy(self._digests.any(1))[rows]].tolist()
        if unread:
            log.info(
                "reading %d images of %s: their digest is part of the data's", len(unread), type(self.dataset).__name__
            )

        def read(row: int) -> None:
            with suppress(BrokenImageError):  # reported, or skipped, where it is trained on
                self.check(row)

        map_in_threads(read, unread)
        return hashlib.sha256(self._digests[rows]).digest()

    @cached_property
    def _brightness(self) -> dict[str, int]:
        return brightness(lambda row: self._pair(row)[0], len(self.dataset))

    def _pair(self, row: int) -> tuple[Any, Any]:
        try:
            item = self.dataset[row]
        except Exception as error:
            raise BrokenImageError(f"{self.name(row)} cannot be read: {one_line(error)}") from error
        has_label = self.targets != "none"
        if isinstance(item, Mapping):
            return self._entry(item, "image", row), self._entry(item, "label", row) if has_label else None
        if not has_label:
            return (item[0] if isinstance(item, tuple | list) else item), None
        if isinstance(item, Sequence) and not isinstance(item, str | bytes) and len(item) >= 2:
            return item[0], item[1]
        raise UserError(
            f"{self.name(row)} must be a pair (image, label) or a mapping with both, got {type(item).__name__}"
        )

    def _entry(self, item: Mapping[Any, Any], role: Any, row: int) -> Any:
        keys = [key for key in item if isinstance(key, str)]
        usual = usual_columns(keys, role, in_mapping=True)
        if not usual:
            raise UserError(
                f"{self.name(row)} is a mapping, and none of its keys ({', '.join(keys)}) is usual for the {role}: "
                f"name it {role!r}"
            )
        return item[usual[0]]


def _image(image: Any, channels: int | None, full: Mapping[str, int] | None) -> Image.Image | Tensor:
    """An image of a user's dataset: PIL in L or RGB, or a uint8 or float tensor C×H×W.

    Raises:
        ValueError: for another type, number of axes or channels, or values whose range is not clear.
    """
    if isinstance(image, Image.Image):
        return convert(
            image, channels or (1 if image.mode in ("1", "L", "LA", "F") or image.mode[0] == "I" else 3), full
        )
    if not isinstance(image, np.ndarray | Tensor):
        raise ValueError(f"it must be a PIL image, a tensor or an array, got {type(image).__name__}")
    if isinstance(image, Tensor) and (image.dtype == torch.uint8 or image.is_floating_point()):
        tensor = image
    else:
        tensor = torch.from_numpy(_plain(np.asarray(image), full))
    if tensor.ndim not in (2, 3):
        raise ValueError(f"it must be C×H×W, H×W×C or H×W, got {tuple(tensor.shape)}")
    if tensor.ndim == 2:
        tensor = tensor[None]
    elif is_channels_last(tuple(tensor.shape), isinstance(image, Tensor)):
        tensor = tensor.permute(2, 0, 1)
    if channels not in (None, len(tensor)):
        raise ValueError(f"it has {len(tensor)} channels, and others have {channels}")
    if not is_finite(tensor):
        raise ValueError("it has NaN or infinite values")
    return tensor.contiguous()


def _plain(array: np.ndarray, full: Mapping[str, int] | None) -> np.ndarray:
    """An array with a dtype of tensors: uint8 or float."""
    if array.dtype.kind == "b":
        return array.astype(np.uint8) * 255
    if array.dtype.kind in "iu":
        return np.ascontiguousarray(array if array.dtype == np.uint8 else eight_bit(array, full))
    if array.dtype.kind != "f":
        raise ValueError(f"its values must be numbers, got {array.dtype}")
    return np.ascontiguousarray(array, np.float32)


def as_image_set(data: Any, targets: Targets = "classes") -> ImageSet:
    """Take an ImageSet as it is and wrap any map-style dataset of (image, label) pairs, see :class:`DatasetImages`.

    Raises:
        UserError: if ``data`` has no length or no items, or gives something else.
    """
    if isinstance(data, ImageSet):
        return data
    if isinstance(data, IterableDataset) or not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        raise UserError(
            "a split must be a map-style dataset (with __getitem__ and __len__) of (image, label) pairs or an "
            f"ImageSet, got {type(data).__name__}"
        )
    return DatasetImages(data, targets)
