"""Files in folders that are classes, or in folders of splits: which there are, each once, and what they are of."""

import logging
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.data.sources.split_folders import class_folders, named_splits, some, split_folders
from distill.utils.errors import UserError
from distill.utils.files import list_files, printable

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FileKind:
    """Which files are samples.

    Attributes:
        suffixes: of their names, in lower case.
        noun: what they are, as "images".
        others: why other files are passed over.
    """

    suffixes: Collection[str]
    noun: str
    others: str


@dataclass(frozen=True)
class FolderFiles:
    """The files of one split: their paths relative to ``folder``, and the number of each one's class, or 0."""

    folder: Path
    names: list[str]
    labels: list[int]


def labelled_files(root: Path, kind: FileKind) -> tuple[dict[str, FolderFiles], list[str]]:
    """The files of each split by class folder, and the classes.

    Raises:
        UserError: folders that could be classes or splits, a class without files, a single class, splits whose classes
            differ, or a file in two classes or splits (by a link).
    """
    folders = split_folders(root, kind.suffixes)
    classes = list(class_folders(folders["train"]))
    where = printable(folders["train"].absolute())
    if not classes:
        raise UserError(f"{where} holds no class folders: expected train/<class>/... or <class>/...")
    if len(classes) == 1:
        raise UserError(f"{where} holds one class folder only ({classes[0]}): at least 2 are needed")
    for folder in folders.values():
        _check_classes(classes, class_folders(folder), folder, kind)
    listed: dict[tuple[int, int], tuple[str, str]] = {}
    return {name: _read(folder, classes, kind, listed) for name, folder in folders.items()}, classes


def unlabelled_files(root: Path, kind: FileKind) -> dict[str, FolderFiles]:
    """All files below train, val and test, or below ``root`` where there is no train; labels are zeros."""
    splits = named_splits(root)
    folders = splits if "train" in splits else {"train": root}
    seen: dict[tuple[int, int], str] = {}
    return {name: _read_all(folder, kind, seen) for name, folder in folders.items()}


def _read_all(folder: Path, kind: FileKind, seen: dict[tuple[int, int], str]) -> FolderFiles:
    """The files of one split; ``seen``: the path of every file of all splits, by its identity."""
    names: list[str] = []
    for file in list_files(folder, kind.suffixes):
        path = f"{folder}/{file.name}"
        other = path if file.identity is None else seen.setdefault(file.identity, path)
        if other != path and not other.startswith(f"{folder}/"):
            raise UserError(f"{printable(path)} is the same file as {printable(other)}, by a link, in another split")
        if other == path:
            names.append(file.name)
    if not names:
        raise UserError(f"{printable(folder.absolute())} holds no {kind.noun}")
    names.sort(key=lambda name: (unicodedata.normalize("NFC", name), name))
    return FolderFiles(folder, names, [0] * len(names))


def _check_classes(classes: Sequence[str], others: Collection[str], folder: Path, kind: FileKind) -> None:
    where = printable(folder.absolute())
    if not others:
        raise UserError(
            f"{where} holds no class folders ({some(classes)}): sort its {kind.noun} into them, or move it away, and "
            f"its split is carved out of the training {kind.noun}"
        )
    differences = (("lacks", set(classes) - set(others)), ("alone has", set(others) - set(classes)))
    parts = [f"{verb} {some(names)}" for verb, names in differences if names]
    if parts:
        raise UserError(f"{where} has other class folders than train: it {' and '.join(parts)}")


def _read(
    folder: Path, classes: Sequence[str], kind: FileKind, listed: dict[tuple[int, int], tuple[str, str]]
) -> FolderFiles:
    """The files of one split. ``listed``: by each file's identity, its class folder and path, of all splits."""
    names: list[str] = []
    labels: list[int] = []
    again, class_names = 0, class_folders(folder)
    others: Counter[str] = Counter()
    for label, name in enumerate(classes):
        class_folder = str(folder / class_names[name])
        found_here, passed = [], Counter[str]()
        for file in list_files(Path(class_folder), kind.suffixes, passed):
            if file.identity is not None:
                path = f"{class_folder}/{file.name}"
                other_folder, other = listed.setdefault(file.identity, (class_folder, path))
                if other_folder != class_folder:
                    raise UserError(
                        f"{printable(path)} is the same file as {printable(other)}, by a link: a sample can have one "
                        "class and be in one split only"
                    )
                if other != path:
                    again += 1
                    continue
            found_here.append(f"{class_names[name]}/{file.name}")
        if not found_here:
            where = printable((folder / class_names[name]).absolute())
            found = f", nothing but {_counted(passed)}" if passed else ""
            raise UserError(f"the class folder {where} holds no {kind.noun}{found}")
        others += passed
        names += sorted(found_here, key=lambda name: (unicodedata.normalize("NFC", name), name))
        labels += [label] * len(found_here)
    if again:
        log.warning(
            "%s: %d links to %s that are in the same class already are left out", printable(folder), again, kind.noun
        )
    if others:
        log.warning("%s: passed over, as %s: %s", printable(folder), kind.others, _counted(others))
    return FolderFiles(folder, names, labels)


def _counted(suffixes: Counter[str]) -> str:
    ordered = sorted(suffixes.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {printable(suffix or 'without suffix')}" for suffix, count in ordered[:5])
