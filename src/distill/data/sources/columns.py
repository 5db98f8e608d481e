"""Tables with an image column and a label column: which they are, and what their labels mean."""

import io
import json
import logging
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from distill.data.column_names import Role, chosen_column, usual_columns
from distill.data.sources.column_targets import with_targets
from distill.data.sources.table import Labels as Labels, Table as Table
from distill.data.splits import Splits, renumber
from distill.data.targets import UNLABELLED, Targets
from distill.utils.errors import UserError, nearest
from distill.utils.files import open_file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Numbered:
    """Labels as numbers, int64 (N,), and the names they stand for, which are the sorted labels where these are text."""

    numbers: Tensor
    names: tuple[str, ...] | None
    is_text: bool
    name: Callable[[int], str]  # of a row


def as_splits(tables: Mapping[str, Table], targets: Targets = "classes", label: Any = None) -> Splits:
    """Number the labels by their names, whatever number a name has in its file.

    The classes are those that the training files list, in that order; else their labels, sorted, where these are text.
    Numbers without names count in the list of the other files where all these have the same.

    Args:
        tables: by split.
        targets: what a label is; others than classes see ``with_targets``.
        label: the user's choice of the label columns: a name, or a list of them.

    Raises:
        UserError: for a null, a label of another type, a name that is no class, or numbers that nothing names.
    """
    if targets != "classes":
        return with_targets(tables, targets, are_names=label is None or isinstance(label, str))
    parts = {split: list(_numbered(table)) for split, table in tables.items()}
    together = [part for split in parts.values() for part in split]
    lists = list(dict.fromkeys(part.names for part in together if part.names is not None and not part.is_text))
    classes = _classes(parts["train"], lists)
    for split, table in tables.items():
        table.samples.labels = torch.cat([_by_name(part, classes, lists) for part in parts[split]])
    return Splits(**{split: table.samples for split, table in tables.items()}, classes=classes)


def _by_name(part: _Numbered, classes: Sequence[str] | None, lists: Sequence[tuple[str, ...]]) -> Tensor:
    names = part.names
    if names is None and classes is not None:
        if lists != [tuple(classes)]:
            raise UserError(
                f"the labels are numbers without names from {part.name(0)} on, and elsewhere they have names "
                f"({', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''}): give all files names, or none"
            )
        log.warning("the labels are numbers without names from %s on: read in the other files' order", part.name(0))
        names = lists[0]
    if classes is None and part.is_text:
        classes = ()  # the training labels are numbers: no text is a class
    return renumber(part.numbers, names, classes, part.name)


def _classes(train: Sequence[_Numbered], lists: Sequence[tuple[str, ...]]) -> list[str] | None:
    """The classes' names; None: nothing names them. ``lists``: the different ones of all files."""
    texts = sorted({name for part in train if part.is_text for name in part.names or ()})
    named = [part.names for part in train if part.names is not None and not part.is_text] or ([] if texts else lists)
    if not named:
        return texts or None
    if len(set(named)) > 1 and named is lists:
        raise UserError("the training labels are numbers without names, and the other files' lists of classes differ")
    return list(named[0] if len(set(named)) == 1 else dict.fromkeys(name for names in named for name in names))


def find_column(columns: Sequence[str], role: Role, choice: str | None, typed: Sequence[str], where: str) -> str:
    """The image or label column.

    Args:
        columns: the table's.
        role: what the column holds.
        choice: the user's; None: the first column with a usual name (in capitals or not), else the only one of
            ``typed``.
        typed: columns whose type fits.
        where: the table, for the error.
    """
    key = {"text_label": "label", "words": "text", "tags": "label", "mask": "label"}.get(role, role)
    if choice is not None:
        column = chosen_column(choice, columns)
        if column is None:
            raise UserError(
                f"{where}: there is no {choice!r} as the {key} column (data.{key}); {nearest(str(choice), columns)}"
            )
        return column
    candidates = usual_columns(columns, role)[:1] or (list(typed) if len(typed) == 1 else [])
    if not candidates:
        raise UserError(
            f"{where}: no column could be taken for the {key} column; set data.{key}= to one of {', '.join(columns)}"
        )
    return candidates[0]


def find_labels(
    columns: Sequence[str], choice: Any, typed: Sequence[str], where: str, targets: Targets, role: Role = "label"
) -> list[str]:
    """The label columns: the user's, else the one that is found; see ``find_column``.

    Raises:
        UserError: a column that is not there, or twice, or several where a sample has one class.
    """
    if targets in UNLABELLED:
        return []
    names = list(choice) if isinstance(choice, Sequence) and not isinstance(choice, str) else [choice]
    listed = f"data.label=[{','.join(map(str, names))}]"
    if not names or len(set(names)) < len(names):
        raise UserError(f"{listed} must name different columns, at least one")
    if targets == "classes" and len(names) > 1:
        raise UserError(f"{listed}: a class is one column, and several are for task=multilabel or task=regression")
    return [find_column(columns, role, name, typed, where) for name in names]


def schema_features(schema: Any) -> dict[str, Any]:
    """The Hugging Face features in a pyarrow schema's metadata, by column; empty where there are none."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}
    return {k: v for k, v in features.items() if isinstance(v, dict)} if isinstance(features, dict) else {}


def open_cell(cell: Any, folder: Path) -> BinaryIO:
    """The file in a cell of an image column: its bytes, alone or as ``bytes`` beside a ``path`` in the table's folder.

    Raises:
        OSError: there is no such file.
        ValueError: the cell is empty.
    """
    content, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, None)
    if content is not None:
        return io.BytesIO(content)
    if path is not None:
        return open_file(folder / path)
    raise ValueError("it is null")


def columns_of_type(features: Mapping[str, Any], name: str) -> list[str]:
    """The columns whose feature is of a type, as "Image"."""
    return [column for column, feature in features.items() if feature.get("_type") == name]


def class_names(feature: Mapping[str, Any]) -> list[str] | None:
    """The names in order of a ClassLabel feature, or of the lists of such; None for another feature."""
    feature = feature.get("feature") or feature
    names = feature.get("names")
    if isinstance(names, dict) and all(re.fullmatch("[0-9]+", str(key)) for key in names):
        names = [names[key] for key in sorted(names, key=int)]  # {"0": "cat", ...}: of long lists in README headers
    return [str(name) for name in names] if isinstance(names, list) else None


def _numbered(table: Table) -> Iterator[_Numbered]:
    """The labels of each file as numbers.

    Raises:
        UserError: for a null or another type; it names the row and the value.
    """
    start = 0
    for labels in table.labels:
        values, names = labels.values, labels.names

        def name(row: int, start: int = start) -> str:
            return table.samples.name(start + row)

        for row, label in enumerate(values):
            if label is None:
                raise UserError(f"the label of {name(row)} is null")
            if not isinstance(label, str | int | np.integer):
                hint = "; task=regression learns numbers" if isinstance(label, float) else ""
                raise UserError(f"the label of {name(row)} must be a whole number or text, got {label!r}{hint}")
            if not isinstance(label, str) and int(label) >= 2**63:
                raise UserError(f"the label of {name(row)} is {label}: too large for a class number")
        is_text = bool(values) and isinstance(values[0], str)
        names = None if names is None else list(map(_composed, names))
        if is_text:
            values = [_composed(str(value)) for value in values]
            names = sorted(set(values))
            numbers = {text: number for number, text in enumerate(names)}
            values = [numbers[text] for text in values]
        tensor = torch.tensor([int(value) for value in values], dtype=torch.int64)
        yield _Numbered(tensor, None if names is None else tuple(names), is_text, name)
        start += len(values)


def _composed(name: str) -> str:
    """A name in the one of Unicode's forms in which names are compared."""
    return unicodedata.normalize("NFC", name)
