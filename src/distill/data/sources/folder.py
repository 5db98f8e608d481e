"""Folders of image files, one per class."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from distill.data.sources.class_files import FileKind, FolderFiles, labelled_files, unlabelled_files
from distill.data.sources.file_digests import content_digests
from distill.data.splits import Splits
from distill.data.targets import Targets
from distill.data.vision.images import EncodedImages
from distill.utils.errors import UserError
from distill.utils.files import image_suffixes, open_file, printable


class FileImages(EncodedImages):
    """Image files.

    Args:
        root: the folder.
        names: paths of the files relative to it.
        labels: class numbers, int64 (N,).
        channels: 1 or 3.
    """

    def __init__(self, root: Path, names: Sequence[str], labels: Tensor, channels: int = 3) -> None:
        super().__init__(channels)
        self.root = root
        self.names = list(names)
        self.labels = labels.to(torch.int64)

    def name(self, row: int) -> str:  # noqa: D102
        return printable(self.root / self.names[row])

    def open(self, row: int) -> BinaryIO:  # noqa: D102
        return open_file(self.root / self.names[row])

    def identity(self, rows: Tensor) -> bytes:
        """A digest of the files' content; their names are no part of it."""
        paths = [os.path.join(self.root, self.names[row]) for row in rows.tolist()]  # noqa: PTH118 - a million files
        return hashlib.sha256(b"".join(content_digests(paths, self.root))).digest()


def image_folder(root: str | Path, channels: int = 3, targets: Targets = "classes") -> Splits:
    """Images of any size and any format that Pillow opens, nested at will below their class's folder.

    ``root/train/<class>/...`` with ``root/val`` (or ``valid``, ``validation``) and ``root/test`` where there are
    such (capitals do not matter, nor ``training`` and ``testing``), or ``root/<class>/...`` alone. What is missing is
    carved out of train. Every mode becomes RGB (or grey); transparency is dropped, EXIF orientation applied.
    Hidden files, those of the system (``__MACOSX``, ``Thumbs.db``) and those that are no images are passed over.

    Args:
        root: the folder.
        channels: 3 (RGB) or 1 (grey).
        targets: of "none" no class folders are needed: all images of a split's folder, or of ``root``, are read.

    Raises:
        UserError: for a missing folder, folders that could be classes or splits, a class without images, a single
            class, splits whose classes differ, or a file in two classes or splits (by a link).
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"there is no folder {root.absolute()}: set data.root= to the folder that holds the images")
    kind = FileKind(image_suffixes(), "images", "Pillow opens no such files")
    if targets == "none":
        splits, classes = unlabelled_files(root, kind), None
    else:
        splits, classes = labelled_files(root, kind)
    images = {split: _images(files, channels) for split, files in splits.items()}
    return Splits(images["train"], images.get("val"), images.get("test"), classes)


def _images(files: FolderFiles, channels: int) -> FileImages:
    return FileImages(files.folder, files.names, torch.tensor(files.labels, dtype=torch.int64), channels)
