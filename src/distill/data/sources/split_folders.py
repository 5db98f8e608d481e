"""Which folders are splits and which are classes: decided by their names and by what they hold, or refused."""

import logging
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from distill.utils.errors import UserError
from distill.utils.files import image_suffixes, list_files, printable, subfolders

log = logging.getLogger(__name__)

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_NEARLY = {
    **SPLITS,
    "trn": "train",
    "validate": "val",
    "dev": "val",
    "eval": "val",
    "evaluation": "val",
    "tst": "test",
}
_EXPECTED = "expected train/<class>/... (and val/<class>/..., test/<class>/...), or <class>/... alone"


def split_folders(root: Path, suffixes: Collection[str] | None = None) -> dict[str, Path]:
    """The folder of each split, at least that of train: ``root`` itself where its folders are classes.

    Splits are called train or training, val, valid or validation, test or testing, in capitals or not.

    Args:
        root: the folder.
        suffixes: of the files that are samples; None: of images.

    Raises:
        UserError: if folders could be either, are almost called like splits, or lack train.
    """
    samples, where = image_suffixes() if suffixes is None else suffixes, printable(root.absolute())
    names = subfolders(root)
    splits = [name for name in names if name.lower() in SPLITS]
    others = [name for name in names if name not in splits and any(list_files(root / name, samples))]
    if not any(
        subfolders(root / name) for name in splits
    ):  # no class folders in any: classes, whatever they are called
        _check_names_of_classes(root, [*splits, *others])
        for name in splits:
            log.warning("%s/%s holds no folders: it is read as a class of that name, not as a split", where, name)
        return {"train": root}
    by_split: dict[str, str] = {}
    for name in splits:
        other = by_split.setdefault(SPLITS[name.lower()], name)
        if other != name:
            raise UserError(f"{where} holds {other} and {name}, two folders for one split: keep one of them")
    if "train" not in by_split:
        beside = f" beside {some(others)}" if others else ""
        raise UserError(
            f"{where} holds {some(splits)}{beside} but no folder called train: name the training samples' "
            "folder train, or set data.root= to the folder that holds the class folders"
        )
    folders: dict[str, Path] = {
        split: root / by_split[split] for split in ("train", "val", "test") if split in by_split
    }
    if others:
        _check_others(root, folders, others)
    return folders


def _check_others(root: Path, folders: Mapping[str, Path], others: Collection[str]) -> None:
    """Folders beside train are left out where another split has the same classes; else train may be a class."""
    train, where = folders["train"], printable(root.absolute())
    classes = class_folders(train).keys()
    if any(class_folders(folder).keys() == classes for split, folder in folders.items() if split != "train"):
        log.warning("%s: left out, as neither train, val nor test: %s", where, some(others))
        return
    raise UserError(
        f"{where} holds {train.name} (with {some(classes)}) beside {some(others)}, which hold samples too, so "
        f"{train.name} could be a split or a class: rename the class, or set data.root={train} for the split"
    )


def _check_names_of_classes(root: Path, names: Sequence[str]) -> None:
    """A UserError if folders that are to be classes are splits by their names, or each holds splits."""
    where = printable(root.absolute())
    for names_of_splits in _nearly_splits(names):
        raise UserError(f"{where}: {some(names_of_splits)} are no classes by their names: {_EXPECTED}")
    inner = [subfolders(root / name) for name in names]
    inside = [{child for child in children if child.lower() in SPLITS} for children in inner]
    if inside and all(inside):
        raise UserError(
            f"{where}: {some(names)} hold {some(set().union(*inside))}: {_EXPECTED}; set data.root= to the one data set"
        )
    if len(names) > 1 and len(inner[0]) > 1 and all(children == inner[0] for children in inner):
        log.warning("%s: %s are read as classes, though each holds the folders %s", where, some(names), some(inner[0]))


def _nearly_splits(names: Iterable[str]) -> Iterator[list[str]]:
    """Names that differ in the split alone, as ``train2017`` and ``val2017``, or ``seg_train`` and ``seg_test``."""
    found: dict[str, dict[str, str]] = {}
    for name in names:
        spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower()
        plain = re.sub(r"(set|data|images?|imgs?|split|folder)\b", " ", spaced)
        words = re.findall(r"[^\W\d_]+", plain)
        split = next((_NEARLY[word] for word in words if word in _NEARLY), None)
        if split is not None:
            found.setdefault(" ".join(word for word in words if word not in _NEARLY), {})[split] = name
    return (list(same.values()) for same in found.values() if len(same) > 1)


def named_splits(root: Path) -> dict[str, Path]:
    """The folders that are called as splits are, by the split, whatever they hold.

    Raises:
        UserError: two folders for one split.
    """
    folders: dict[str, Path] = {}
    for name in subfolders(root):
        split = SPLITS.get(name.lower())
        if split is not None:
            other = folders.setdefault(split, root / name)
            if other.name != name:
                where = printable(root.absolute())
                raise UserError(f"{where} holds {other.name} and {name}, two folders for one split: keep one of them")
    return folders


def class_folders(folder: Path) -> dict[str, str]:
    """The class folders in a folder, by the name of their class: the folder's in Unicode's composed form (NFC).

    Raises:
        UserError: if two differ in their Unicode form only.
    """
    classes: dict[str, str] = {}
    for name in subfolders(folder):
        other = classes.setdefault(printable(unicodedata.normalize("NFC", name)), name)
        if other != name:
            raise UserError(
                f"{printable(folder.absolute())} holds two folders called {printable(name)}, in two Unicode forms: "
                "make one of them"
            )
    return dict(sorted(classes.items()))


def some(names: Iterable[str], shown: int = 5) -> str:
    """The first of some names, sorted, and how many there are in all."""
    ordered = sorted(map(printable, names))
    more = f", ... ({len(ordered)} in all)" if len(ordered) > shown else ""
    return ", ".join(ordered[:shown]) + more
