"""Columns of numbers, of 0 and 1, or of names as the targets of a task; what is none of these is refused by its row."""

import logging
import math
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from distill.data.sources.table import Labels, Table
from distill.data.splits import Splits
from distill.data.targets import UNLABELLED, Targets
from distill.utils.errors import UserError, nearest

log = logging.getLogger(__name__)

_BITS = {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0}


def with_targets(tables: Mapping[str, Table], targets: Targets, are_names: bool) -> Splits:
    """The splits with the targets of their label columns, which go by their names.

    Args:
        tables: by split.
        targets: "multilabel", "numbers", or those without labels.
        are_names: of "multilabel": the one column holds names, and not 0 or 1.

    Raises:
        UserError: a value that is none of these, or a label that is no label of the training split.
    """
    names: Sequence[str] | None = None
    if targets in UNLABELLED:
        for table in tables.values():
            table.samples.labels = torch.zeros(table.size, dtype=torch.int64)
    elif targets == "multilabel" and are_names:
        names = _label_names(tables)
    else:
        names = list(tables["train"].labels[0].columns)
        read = _number if targets == "numbers" else _bit
        for table in tables.values():
            columns = [_column(table, name, read) for name in names]
            table.samples.labels = torch.tensor(columns, dtype=torch.float32).T.contiguous()
    return Splits(**{split: table.samples for split, table in tables.items()}, classes=names)


def _cells(table: Table, name: str | None = None) -> Iterator[tuple[int, Any]]:
    """Row and value of a label column, through all files; None: of the only column."""
    row = 0
    for labels in table.labels:
        for value in labels.values if name is None else labels.columns[name]:
            yield row, value
            row += 1


def _column(table: Table, name: str, read: Callable[[Any], float]) -> list[float]:
    numbers = []
    for row, value in _cells(table, name):
        try:
            numbers.append(read(value))
        except ValueError as error:
            raise UserError(f"the label {name!r} of {table.samples.name(row)} {error}") from error
    return numbers


def _number(value: Any) -> float:
    """A finite number, or text that is one."""
    _check_given(value)
    try:
        if isinstance(value, str) and "_" in value:
            raise ValueError
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"must be a number, got {value!r}") from None
    if not math.isfinite(number) or abs(number) > torch.finfo(torch.float32).max:
        raise ValueError(f"must be a finite number, got {value!r}")
    return number


def _bit(value: Any) -> float:
    """0 or 1, as a number, a truth value or text."""
    _check_given(value)
    bit = _BITS.get(value.strip().lower(), -1.0) if isinstance(value, str) else value
    if not isinstance(bit, bool | int | float) or bit not in (0, 1):
        raise ValueError(f"must be 0 or 1, got {value!r}; a column of names is given alone: data.label=<column>")
    return float(bit)


def _check_given(value: Any) -> None:
    if value is None or value == "":
        raise ValueError("is null: it has no value")


def _label_names(tables: Mapping[str, Table]) -> list[str]:
    """Set the targets of a column of names (a list, or text separated by ``|`` or ``;``), and return all names.

    They are those that the training files list, else those of the training rows, sorted.
    """
    rows = {split: _sets(table) for split, table in tables.items()}
    listed = dict.fromkeys(name for labels in tables["train"].labels for name in labels.names or ())
    names = list(listed) or sorted({name for row in rows["train"] for name in row}, key=natural_order)
    if not names:
        raise UserError("no training sample has a label")
    if {name.lower() for name in names} <= _BITS.keys() and all(len(row) == 1 for row in rows["train"]):
        (column,) = tables["train"].labels[0].columns
        raise UserError(f"the labels of the column {column!r} are 0 and 1, no names: set data.label=[{column}]")
    numbers = {name: number for number, name in enumerate(names)}
    for split, table in tables.items():
        targets = torch.zeros(len(rows[split]), len(names))
        for row, found in enumerate(rows[split]):
            for name in found:
                if name not in numbers:
                    where = f"the label {name!r} of {table.samples.name(row)}"
                    raise UserError(f"{where} is no label of the training split; {nearest(name, names)}")
                targets[row, numbers[name]] = 1
        table.samples.labels = targets
    return names


def numbered_classes(column: str, values: Sequence[Any]) -> Labels:
    """Classes as numbers by the natural order of their names, so that 10 comes after 9; an empty name is null."""
    texts = [_class_name(value) for value in values]
    if any(not isinstance(text, str | None) for text in texts):
        return Labels({column: texts})  # whoever reads them says which is no class
    blank = [value for value in values if isinstance(value, str) and value != value.strip() and value.strip()]
    if blank:
        log.warning("blanks around %d labels of the column %s are left out (%r)", len(blank), column, blank[0][:40])
    classes = sorted({text for text in texts if text is not None}, key=natural_order)
    numbers = {text: number for number, text in enumerate(classes)}
    return Labels({column: [None if text is None else numbers[text] for text in texts]}, classes)


def _class_name(value: Any) -> Any:
    """The name of a class that is text, a whole number or a truth value; anything else as it is."""
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value.strip()) or None
    if isinstance(value, float) and value.is_integer():  # pandas makes such of whole numbers beside a null
        value = int(value)
    return str(value) if isinstance(value, bool | int) else value


def natural_order(name: str) -> tuple[bool, int, str]:
    """Whole numbers by their value, before other names."""
    is_number = name.isdecimal()
    return not is_number, int(name) if is_number else 0, name


def _sets(table: Table) -> list[list[str]]:
    """The names of every row."""
    numbered = [labels.names for labels in table.labels for _ in labels.values]
    rows = []
    for row, value in _cells(table):
        try:
            rows.append(_names(value, numbered[row]))
        except ValueError as error:
            raise UserError(f"the labels of {table.samples.name(row)} {error}") from error
    return rows


def _names(value: Any, numbered: Sequence[str] | None) -> list[str]:
    if value is None:
        raise ValueError("are null: without labels it is an empty list or an empty text")
    if isinstance(value, str):
        parts = [part.strip() for part in value.replace(";", "|").split("|")]
        return [unicodedata.normalize("NFC", part) for part in parts if part]
    if not isinstance(value, list | tuple | np.ndarray):
        raise ValueError(
            f"must be names, in a list or separated by | or ;, got {value!r}; columns of 0 and 1 are "
            "given as a list: data.label=[<column>]"
        )
    names = []
    for each in value:
        if isinstance(each, bool) or not isinstance(each, str | int | np.integer):
            raise ValueError(f"must be names, got {each!r} among them")
        if isinstance(each, str) or numbered is None:
            names.append(unicodedata.normalize("NFC", str(each)))
        elif 0 <= each < len(numbered):
            names.append(numbered[int(each)])
        else:
            raise ValueError(f"have the number {each}, outside 0..{len(numbered) - 1}")
    return names
