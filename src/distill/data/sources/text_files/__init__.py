"""Texts in files: JSON lines, CSV, TSV, parquet, CoNLL, plain text, folders of them, and data sets of the hub."""

import itertools
import logging
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from distill.data.sources.column_targets import numbered_classes
from distill.data.sources.columns import as_splits
from distill.data.sources.split_folders import SPLITS
from distill.data.sources.table import Labels, Table
from distill.data.sources.text_files.delimited import delimited
from distill.data.sources.text_files.folder import text_folder
from distill.data.sources.text_files.hub import hub
from distill.data.sources.text_files.jsonl import jsonl
from distill.data.sources.text_files.plain import conll, text_lines
from distill.data.sources.text_files.rows import Choices, OnBroken, Rows, as_array
from distill.data.sources.text_files.tables import parquet
from distill.data.sources.text_files.tags import tagged_splits
from distill.data.splits import Splits
from distill.data.targets import UNLABELLED
from distill.data.text.dataset import Places, TextSet
from distill.utils.errors import UserError, nearest_files
from distill.utils.files import is_ignored, printable

log = logging.getLogger(__name__)

Reader = Callable[[Path, Choices, bool], Rows]
READERS: dict[str, Reader] = {
    **dict.fromkeys((".jsonl", ".json", ".ndjson"), jsonl),
    **dict.fromkeys((".csv", ".tsv", ".tab"), delimited),
    ".parquet": parquet,
    **dict.fromkeys((".conll", ".bio", ".iob"), conll),
    ".txt": text_lines,
}
_STEMS = {**SPLITS, "dev": "val", "dev_matched": "val", "test_matched": "test"}  # GLUE's names among them
_SHARD = re.compile(r"-\d+-of-\d+$")  # as the hub names the files of one split


def texts(
    root: str | Path,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | Sequence[str] | None = None,
    split_column: str | None = None,
    columns: Sequence[str] | None = None,
    encoding: str = "utf-8",
    on_broken: OnBroken = "error",
    config: str | None = None,
    revision: str | None = None,
    targets: Any = "classes",
) -> Splits:
    """Texts, or pairs of texts, with their labels.

    A file (.jsonl, .csv, .tsv, .parquet; .conll or .txt with a word and its tag per line for ``targets="tokens"``; .txt
    with a text per line for "none" and "next_token", for which a column ``messages`` holds conversations), in which a
    column of splits may say which row is training, validation or test; a folder with such files called train, val (or
    dev, validation) and test; a folder with a folder of .txt files per class, perhaps below train, val and test; or the
    name of a data set on the Hugging Face hub. What is missing is carved out of train.

    Args:
        root: the file, folder or name.
        text: column of the texts; None: found by its usual names, as are pairs ("sentence1" and "sentence2", …).
        text_pair: column of the second texts; None: there are none where ``text`` is given.
        label: column of the labels; of several labels or numbers perhaps a list; None: found by its usual names.
        split_column: None: "split", where there is one.
        columns: names of the columns of a CSV or TSV file whose first line does not name them.
        encoding: of files of text, as Python calls it; a byte order mark of UTF-8 is passed over.
        on_broken: what a line that cannot be read or holds no text does: "error", or "skip" with a logged warning.
        config: of a data set on the hub that has several.
        revision: of its repository on the hub: a commit, for results that can be repeated.
        targets: what the task needs; see ``distill.data.targets``.

    Returns:
        ``TextSet`` of each split, and the names of the classes.

    Raises:
        UserError: for files or columns that are not there, lines that are broken, and labels that do not fit
            ``targets``; file and line are named.
    """
    label = str(label) if isinstance(label, int | float) else label  # a name that looks like a number
    choices = Choices(text, text_pair, label, split_column, columns, encoding, on_broken, targets)
    path = Path(root)
    if path.is_dir():
        files = _split_files(path)
        if not files:
            return text_folder(path, choices)
        parts = {
            split: [_read(file, choices, split == "train") for file in several] for split, several in files.items()
        }
    elif path.exists() or _is_path(str(root)):
        parts = _by_column(_read(path, choices, True), split_column)
    else:
        try:
            parts = hub(str(root), config, revision, choices)
        except UserError as error:
            raise UserError(f"{error}{nearest_files(path)}") from error
    return _splits(parts, choices)


def _is_path(root: str) -> bool:
    """Whether a name that does not exist was meant as a file, and not as a data set of the hub (``owner/name``)."""
    return Path(root).suffix.lower() in READERS or root.startswith((".", "/", "~", "\\")) or root.count("/") > 1


def _read(path: Path, choices: Choices, needs_labels: bool) -> Rows:
    if not path.exists():
        raise UserError(f"there is no file or folder {printable(path.absolute())} (data.root){nearest_files(path)}")
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise UserError(f"{printable(path)}: data.root= takes files whose names end in {', '.join(READERS)}")
    reader = READERS[suffix]
    if choices.targets == "tokens" and reader is text_lines:
        reader = conll
    if reader is conll and choices.targets != "tokens":
        raise UserError(f"{printable(path)} holds words with tags: set task=tokens")
    if choices.targets == "tokens" and reader is delimited:
        raise UserError(f"{printable(path)}: task=tokens reads {'.conll, .txt, .jsonl and .parquet'} files")
    return reader(path, choices, needs_labels)


def _split_files(root: Path) -> dict[str, list[Path]]:
    """The files that are called as splits are, in the folder or in ``data`` within it, as on the hub; none: empty."""
    for folder in (root, root / "data"):
        files: dict[str, list[Path]] = {}
        others = []
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.suffix.lower() not in READERS or is_ignored(path.name) or not path.is_file():
                continue
            split = _STEMS.get(_SHARD.sub("", path.stem).lower())
            if split is None:
                others.append(path)
            else:
                files.setdefault(split, []).append(path)
        for several in files.values():
            first = several[0]
            other = next((path for path in several[1:] if not (_SHARD.search(path.stem) and _same(path, first))), None)
            if other is not None:
                raise UserError(f"{printable(folder)} holds {first.name} and {other.name}, two files for one split")
        if files and "train" not in files:
            names = ", ".join(printable(path.name) for several in files.values() for path in several[:1])
            raise UserError(
                f"{printable(folder.absolute())} holds {names} and no train file: add it{_meant(others, ['train'])}"
            )
        if files:
            _warn_of_others(folder, others, files)
            return {split: files[split] for split in ("train", "val", "test") if split in files}
    return {}


def _warn_of_others(folder: Path, others: Sequence[Path], files: Mapping[str, Sequence[Path]]) -> None:
    """One warning about files of texts that are called as no split is: those like the splits' own."""
    used = {path.suffix.lower() for several in files.values() for path in several}
    others = [path for path in others if path.suffix.lower() in used or _meant([path])]
    if others:
        names = ", ".join(printable(path.name) for path in others[:5]) + ", …" * (len(others) > 5)
        log.warning("%s: passed over: %s%s", printable(folder), names, _meant(others))


def _meant(paths: Sequence[Path], splits: Collection[str] = ("train", "val", "validation", "test")) -> str:
    """The end of a message: the first split that one of the files is nearly called as."""
    for path in paths:
        close = get_close_matches(path.stem.lower(), splits, 1, 0.7)
        if close:
            return f"; did you mean {close[0]} by {printable(path.name)}?"
    return ""


def _same(path: Path, other: Path) -> bool:
    """Whether two files are parts of one."""
    return path.suffix == other.suffix and _SHARD.sub("", path.stem) == _SHARD.sub("", other.stem)


def _by_column(rows: Rows, column: str | None) -> dict[str, list[Rows]]:
    """The rows of each split that a file's column names."""
    if rows.splits is None:
        return {"train": [rows]}
    at: dict[str, list[int]] = {}
    for row, value in enumerate(rows.splits):
        split = _STEMS.get(value.strip().lower()) if isinstance(value, str) else None
        if split is None:
            raise UserError(f"{rows.places.name(row)}: the split {value!r} is none of train, val, test")
        at.setdefault(split, []).append(row)
    if "train" not in at:
        raise UserError(f"no row is of the split train (column {column or 'split'!r})")
    return {split: [rows.take(np.array(at[split]))] for split in ("train", "val", "test") if split in at}


def _splits(parts: dict[str, list[Rows]], choices: Choices) -> Splits:
    if choices.targets not in UNLABELLED:
        parts = {
            split: several
            for split, several in parts.items()
            if split == "train" or _are_labelled(split, several, choices)
        }
    if choices.targets == "tokens":
        return tagged_splits(parts)
    widths = {len(rows.texts): rows for several in parts.values() for rows in several}
    if len(widths) > 1:
        raise UserError(f"{widths[1].places.name(0)} has one text, and {widths[2].places.name(0)} a pair of them")
    return as_splits(
        {split: _table(several, choices) for split, several in parts.items()}, choices.targets, choices.label
    )


def _are_labelled(split: str, parts: Sequence[Rows], choices: Choices) -> bool:
    """Whether a split has labels; the test sets of GLUE have none, or -1 in each row."""
    labels = [values for rows in parts for values in rows.labels.values()]
    if labels and not (choices.targets == "classes" and {*itertools.chain.from_iterable(labels)} <= {-1, "-1"}):
        return True
    where = parts[0].places.name(0)
    log.warning("the %s split (%s, …) has no labels: it is left out, and carved out of train", split, where)
    return False


def _table(parts: Sequence[Rows], choices: Choices) -> Table:
    """The rows of one split, and their labels as ``as_splits`` takes them."""
    places = Places.joined([rows.places for rows in parts])
    arrays = [as_array([chunk for rows in parts for chunk in rows.texts[i].chunks]) for i in range(len(parts[0].texts))]
    odd = next((rows for rows in parts if rows.chat != parts[0].chat), None)
    if odd is not None:
        raise UserError(f"{odd.places.name(0)} and {places.name(0)} are not alike: one is a conversation, one a text")
    samples = TextSet(arrays[0], places, arrays[1] if arrays[1:] else None, chat=parts[0].chat)
    return Table(samples, [_labels(rows, choices) for rows in parts], len(places.number))


def _labels(rows: Rows, choices: Choices) -> Labels:
    columns: Mapping[str, Sequence[Any]] = rows.labels
    if choices.targets == "classes" and rows.names is None:
        ((column, values),) = columns.items()
        return numbered_classes(column, values)
    return Labels(columns, rows.names)
