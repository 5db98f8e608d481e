"""Folders of image files, one per class."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import torch
from PIL import Image
from torch import Tensor

from distill.data.splits import Splits
from distill.data.vision.images import EncodedImages
from distill.utils.errors import UserError


class FileImages(EncodedImages):
    """Image files.

    Args:
        root: folder that the names below do not contain.
        names: paths relative to it.
        labels: class numbers, int64 (N,).
        channels: 1 or 3.
    """

    def __init__(self, root: Path, names: Sequence[str], labels: Tensor, channels: int = 3) -> None:
        self.root = root
        self.names = list(names)
        self.labels = labels.to(torch.int64)
        self.channels = channels

    def name(self, row: int) -> str:
        """The file's path."""
        return str(self.root / self.names[row])

    def open(self, row: int) -> BinaryIO:
        """The file."""
        return (self.root / self.names[row]).open("rb")

    def identity(self, rows: Tensor) -> bytes:
        """A digest of the relative names and the files' sizes."""
        hasher = hashlib.sha256()
        for row in rows.tolist():
            path = self.root / self.names[row]
            hasher.update(f"{self.names[row]}\0{path.stat().st_size}\n".encode())
        return hasher.digest()


def image_folder(root: str | Path, channels: int = 3) -> Splits:
    """Images of any size and any format that Pillow opens, nested at will below their class's folder.

    ``root/train/<class>/...`` with ``root/val`` (or ``valid``, ``validation``) and ``root/test`` where there are
    such, or ``root/<class>/...`` alone. What is missing is carved out of train. Every mode becomes RGB (or grey);
    transparency is dropped, EXIF orientation is not applied. Hidden files and other files are passed over.

    Args:
        root: the folder.
        channels: 3 (RGB) or 1 (grey).

    Raises:
        UserError: for a missing or empty folder, a class without images, a single class, or splits whose classes
            differ.
    """
    if channels not in (1, 3):
        raise UserError(f"data.source.channels must be 1 or 3, got {channels}")
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"there is no folder {root.absolute()}: set data.root= to the folder that holds the images")
    split = bool(_folders(root / "train"))
    train = root / "train" if split else root
    classes = _folders(train)
    if not classes:
        raise UserError(f"{train.absolute()} holds no class folders: expected train/<class>/... or <class>/...")
    if len(classes) == 1:
        raise UserError(f"{train.absolute()} holds one class folder only ({classes[0]}): at least 2 are needed")
    sets = {"train": _read(train, classes, channels)}
    for name, folders in (("val", ("val", "valid", "validation")), ("test", ("test",))):
        there = [root / folder for folder in folders if split and (root / folder).is_dir()]
        if there:
            _compare(classes, _folders(there[0]), there[0])
            sets[name] = _read(there[0], classes, channels)
    return Splits(**sets, classes=classes)


def _folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(child.name for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _compare(classes: Sequence[str], others: Sequence[str], folder: Path) -> None:
    missing, extra = sorted(set(classes) - set(others)), sorted(set(others) - set(classes))
    if missing or extra:
        parts = [f"{what} {', '.join(names)}" for what, names in (("lacks", missing), ("alone has", extra)) if names]
        raise UserError(f"{folder.absolute()} has other class folders than train: it {' and '.join(parts)}")


def _read(folder: Path, classes: Sequence[str], channels: int) -> FileImages:
    suffixes = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    names: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = []
        for parent, folders, files in os.walk(folder / name, followlinks=True):
            folders[:] = [child for child in folders if not child.startswith(".")]
            paths = (Path(parent, file) for file in files if not file.startswith("."))
            found += [path.relative_to(folder).as_posix() for path in paths if path.suffix.lower() in suffixes]
        if not found:
            raise UserError(f"the class folder {(folder / name).absolute()} holds no images")
        names += sorted(found)
        labels += [label] * len(found)
    return FileImages(folder, names, torch.tensor(labels), channels)
