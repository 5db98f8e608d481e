"""Folders of image files, one per class."""

import hashlib
import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from distill.data.sources.file_digests import content_digests
from distill.data.sources.split_folders import class_folders, named_splits, some, split_folders
from distill.data.splits import Splits
from distill.data.targets import Targets
from distill.data.vision.images import EncodedImages
from distill.utils.errors import UserError
from distill.utils.files import image_suffixes, list_files, open_file, printable

log = logging.getLogger(__name__)


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
    if targets == "none":
        return _unlabelled(root, channels)
    folders = split_folders(root)
    classes = list(class_folders(folders["train"]))
    where = printable(folders["train"].absolute())
    if not classes:
        raise UserError(f"{where} holds no class folders: expected train/<class>/... or <class>/...")
    if len(classes) == 1:
        raise UserError(f"{where} holds one class folder only ({classes[0]}): at least 2 are needed")
    for folder in folders.values():
        _check_classes(classes, class_folders(folder), folder)
    listed: dict[tuple[int, int], tuple[str, str]] = {}
    splits = {name: _read(folder, classes, channels, listed) for name, folder in folders.items()}
    return Splits(**splits, classes=classes)


def _unlabelled(root: Path, channels: int) -> Splits:
    """All images below train, val and test, or below ``root`` where there is no train; labels are zeros."""
    splits = named_splits(root)
    folders = splits if "train" in splits else {"train": root}
    seen: dict[tuple[int, int], str] = {}
    images = {name: _read_all(folder, channels, seen) for name, folder in folders.items()}
    return Splits(images["train"], images.get("val"), images.get("test"))


def _read_all(folder: Path, channels: int, seen: dict[tuple[int, int], str]) -> FileImages:
    """The images of one split; ``seen``: the path of every file of all splits, by its identity."""
    names: list[str] = []
    for file in list_files(folder, image_suffixes()):
        path = f"{folder}/{file.name}"
        other = path if file.identity is None else seen.setdefault(file.identity, path)
        if other != path and not other.startswith(f"{folder}/"):
            raise UserError(f"{printable(path)} is the same file as {printable(other)}, by a link, in another split")
        if other == path:
            names.append(file.name)
    if not names:
        raise UserError(f"{printable(folder.absolute())} holds no images")
    names.sort(key=lambda name: (unicodedata.normalize("NFC", name), name))
    return FileImages(folder, names, torch.zeros(len(names), dtype=torch.int64), channels)


def _check_classes(classes: Sequence[str], others: Collection[str], folder: Path) -> None:
    where = printable(folder.absolute())
    if not others:
        raise UserError(
            f"{where} holds no class folders ({some(classes)}): sort its images into them, or move it away, and its "
            "split is carved out of the training images"
        )
    differences = (("lacks", set(classes) - set(others)), ("alone has", set(others) - set(classes)))
    parts = [f"{verb} {some(names)}" for verb, names in differences if names]
    if parts:
        raise UserError(f"{where} has other class folders than train: it {' and '.join(parts)}")


def _read(
    folder: Path, classes: Sequence[str], channels: int, listed: dict[tuple[int, int], tuple[str, str]]
) -> FileImages:
    """The images of one split. ``listed``: by each file's identity, its class folder and path, of all splits."""
    names: list[str] = []
    labels: list[int] = []
    again, suffixes, class_names = 0, image_suffixes(), class_folders(folder)
    others: Counter[str] = Counter()
    for label, name in enumerate(classes):
        class_folder = str(folder / class_names[name])
        images, passed = [], Counter[str]()
        for file in list_files(Path(class_folder), suffixes, passed):
            if file.identity is not None:
                path = f"{class_folder}/{file.name}"
                other_folder, other = listed.setdefault(file.identity, (class_folder, path))
                if other_folder != class_folder:
                    raise UserError(
                        f"{printable(path)} is the same file as {printable(other)}, by a link: an image can have one "
                        "class and be in one split only"
                    )
                if other != path:
                    again += 1
                    continue
            images.append(f"{class_names[name]}/{file.name}")
        if not images:
            where = printable((folder / class_names[name]).absolute())
            found = f", nothing but {_counted(passed)}" if passed else ""
            raise UserError(f"the class folder {where} holds no images{found}")
        others += passed
        names += sorted(images, key=lambda name: (unicodedata.normalize("NFC", name), name))
        labels += [label] * len(images)
    if again:
        log.warning("%s: %d links to images that are in the same class already are left out", printable(folder), again)
    if others:
        log.warning("%s: passed over, as Pillow opens no such files: %s", printable(folder), _counted(others))
    return FileImages(folder, names, torch.tensor(labels), channels)


def _counted(suffixes: Counter[str]) -> str:
    ordered = sorted(suffixes.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {printable(suffix or 'without suffix')}" for suffix, count in ordered[:5])
