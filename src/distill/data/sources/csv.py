"""Image files listed in a CSV file, a line each, with their labels in other columns."""

import csv as csv_format
import io
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from distill.data.sources.column_targets import numbered_classes
from distill.data.sources.columns import as_splits, find_column, find_labels
from distill.data.sources.folder import FileImages
from distill.data.sources.split_folders import SPLITS
from distill.data.sources.table import Labels, Table
from distill.data.splits import Splits
from distill.data.targets import Targets
from distill.utils.errors import UserError, one_line
from distill.utils.files import open_file, printable

_FILE_NAMES = ("file", "filename", "file_name", "filepath", "file_path", "path", "image_path", "img_path")
_DELIMITERS = ",;\t"


@dataclass(frozen=True)
class _Lines:
    """The lines of one file: their cells by column, and where each stands (counted from 1)."""

    path: Path
    columns: dict[str, list[str]]
    numbers: list[int]

    def only(self, rows: Sequence[int]) -> "_Lines":
        columns = {name: [cells[row] for row in rows] for name, cells in self.columns.items()}
        return _Lines(self.path, columns, [self.numbers[row] for row in rows])


class ListedImages(FileImages):
    """Image files that the lines of a table name."""

    def __init__(self, root: Path, names: Sequence[str], channels: int, lines: _Lines) -> None:
        super().__init__(root, names, torch.zeros(len(names)), channels)
        self._table, self._numbers = lines.path.name, lines.numbers

    def name(self, row: int) -> str:
        """The image's path, and its line."""
        return f"{super().name(row)} (line {self._numbers[row]} of {self._table})"


def csv(
    root: str | Path,
    image_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    folder: str | Path | None = None,
    split_column: str | None = None,
    channels: int = 3,
    targets: Targets = "classes",
) -> Splits:
    """Images and labels of a CSV file, or of ``train.csv``, ``val.csv`` and ``test.csv`` in a folder.

    The first line names the columns, separated by commas, semicolons or tabs; text is UTF-8. In a single file a column
    of splits says which line is training, validation or test. What is missing is carved out of train.

    Args:
        root: the file, or the folder.
        image_column: paths of the images; None: found by its usual names.
        label_column: as of ``parquet``; None: found likewise.
        folder: where relative paths begin, itself relative to the CSV file's folder; None: that folder.
        split_column: None: "split", where there is one.
        channels: 3 (RGB) or 1 (grey).
        targets: what the task needs; see ``distill.data.targets``.

    Raises:
        UserError: a file or column that is missing, a line of another length, an image that is not there or could come
            into two splits, a split that is none, or a label that does not fit ``targets``.
    """
    tables, splits = {}, _splits(Path(root), split_column)
    seen: dict[tuple[int, int], str] = {}
    for split, lines in splits.items():
        where, names = lines.path.name, list(lines.columns)
        typed = [name for name in names if name.lower() in _FILE_NAMES]
        image = find_column(names, "image", image_column, typed, where)
        labels = find_labels(names, label_column, [], where, targets)
        images = ListedImages(lines.path.parent / (folder or ""), lines.columns[image], channels, lines)
        _check_files(images, lines, split, seen, alone=split == "train" and len(splits) < 3)
        tables[split] = Table(images, [_labels(lines, labels, targets)], len(lines.numbers))
    return as_splits(tables, targets, label_column)


def _labels(lines: _Lines, names: Sequence[str], targets: Targets) -> Labels:
    """The label columns; classes are numbered in their natural order, so that 10 comes after 9."""
    if targets == "classes":
        return numbered_classes(names[0], lines.columns[names[0]])
    return Labels({name: lines.columns[name] for name in names})


def _splits(root: Path, split_column: str | None) -> dict[str, _Lines]:
    """The lines of each split, at least of train."""
    if not root.is_dir():
        return _by_column(_read(root), split_column)
    files: dict[str, Path] = {}
    for path in sorted(root.glob("*.[cC][sS][vV]")):
        split = SPLITS.get(path.stem.lower())
        if split is not None and files.setdefault(split, path) != path:
            raise UserError(f"{printable(root)} holds {files[split].name} and {path.name}, two files for one split")
    if "train" not in files:
        raise UserError(f"{printable(root.absolute())} holds no train.csv: set data.root= to a CSV file, or add it")
    return {split: _read(files[split]) for split in ("train", "val", "test") if split in files}


def _by_column(lines: _Lines, column: str | None) -> dict[str, _Lines]:
    if column is not None and column not in lines.columns:
        raise UserError(f"{lines.path.name}: there is no column {column!r} of splits (data.source.split_column)")
    column = column or next((name for name in lines.columns if name.lower() == "split"), None)
    if column is None:
        return {"train": lines}
    rows: dict[str, list[int]] = {}
    for row, text in enumerate(lines.columns[column]):
        split = SPLITS.get(text.lower())
        if split is None:
            raise UserError(
                f"line {lines.numbers[row]} of {lines.path.name}: the split {text!r} is none of train, val, test"
            )
        rows.setdefault(split, []).append(row)
    if "train" not in rows:
        raise UserError(f"{lines.path.name}: no line is of the split train")
    return {split: lines.only(rows[split]) for split in ("train", "val", "test") if split in rows}


def _read(path: Path) -> _Lines:
    """The lines of a file; empty ones are passed over."""
    try:
        with open_file(path) as file:
            text = file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text in UTF-8 ({one_line(error)}): save it as such") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}; set data.root= to a CSV file") from error
    reader = csv_format.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(text), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        columns: dict[str, list[str]] = {name: [] for name in header if name}  # pandas leaves its index without one
        if len(columns) < len(header) - header.count(""):
            raise UserError(f"{path.name}: the first line must name each column once, got {', '.join(header)}")
        numbers = []
        for cells in reader:
            if not any(map(str.strip, cells)):
                continue
            if len(cells) != len(header):
                raise UserError(
                    f"line {reader.line_num} of {path.name} has {len(cells)} values, and the first line names "
                    f"{len(header)} columns ({', '.join(header)})"
                )
            numbers.append(reader.line_num)
            for name, cell in zip(header, cells, strict=True):
                if name:
                    columns[name].append(cell.strip())
    except csv_format.Error as error:
        raise UserError(f"line {reader.line_num} of {path.name} is no CSV: {error}") from error
    if not numbers:
        raise UserError(f"{path.name} has no line of data")
    return _Lines(path, columns, numbers)


def delimiter_of(text: str) -> str:
    """Which of the delimiters gives the first line the most columns."""
    first = text.splitlines()[:1]
    return max(_DELIMITERS, key=lambda each: len(next(csv_format.reader(first, delimiter=each), [])))


def _check_files(
    images: ListedImages, lines: _Lines, split: str, seen: dict[tuple[int, int], str], alone: bool
) -> None:
    """A UserError for images that are not there, that are in two splits or, if others are carved out, twice in it.

    Args:
        images: of one split.
        lines: that name them.
        split: its name.
        seen: where each file of the splits before is named; those of this one are added.
        alone: whether other splits are carved out of this one.
    """
    identities = [_identity(os.path.join(images.root, name)) for name in images.names]  # noqa: PTH118 - a million files
    for row, identity in enumerate(identities):
        line = f"line {lines.numbers[row]} of {lines.path.name}"
        if not images.names[row]:
            raise UserError(f"{line} names no image")
        if identity is None:
            raise UserError(
                f"{line}: there is no image {printable(images.root / images.names[row])} ({identities.count(None)} of "
                f"{len(identities)} are missing); relative paths begin in the CSV file's folder, or in "
                "data.source.folder"
            )
        here = f"{line} ({split})"
        other = seen.setdefault(identity, here)
        if other != here and (alone or not other.endswith(f"({split})")):
            carved = ", and what is no training sample is carved out of train" if alone else ""
            raise UserError(
                f"{line} names the same file as {other}{carved}: a sample can be in one split only; list it once"
            )


def _identity(path: str) -> tuple[int, int] | None:
    """The same for two names of one file; None: there is no such file."""
    try:
        status = os.stat(path)  # noqa: PTH116 - a million files
    except (OSError, ValueError):  # no file, no name
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_dev, status.st_ino or hash(os.path.realpath(path))  # some network file systems have no numbers
