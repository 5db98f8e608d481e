"""Parquet files, and arrow tables of any kind."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distill.data.sources.columns import class_names, columns_of_type, schema_features
from distill.data.sources.text_files.rows import Choices, Columns, NoRowsError, Rows, arrow, as_array, find_columns
from distill.data.text.dataset import BLOCK, Places
from distill.data.text.messages import as_line, messages_problem
from distill.data.text.problems import label_problem, problem, words_problem
from distill.utils.errors import UserError, one_line
from distill.utils.files import open_file, printable

log = logging.getLogger(__name__)


def parquet(path: Path, choices: Choices, needs_labels: bool) -> Rows:
    """The rows of a parquet file.

    Raises:
        UserError: it cannot be read, or as ``table_rows``.
    """
    import pyarrow as pa
    from pyarrow import parquet as pq

    try:
        open_file(path).close()  # pyarrow would wait for ever at a pipe
        schema = pq.read_schema(path)
        features = schema_features(schema)
        labels = columns_of_type(features, "ClassLabel")
        columns = find_columns(schema.names, choices, path.name, labels, needs_labels)
        _check_types(schema, columns, choices, path.name)
        wanted = {*columns.texts, *columns.labels, *filter(None, [columns.split])}
        table = pq.read_table(path, columns=sorted(wanted), partitioning=None)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{printable(path)} cannot be read as parquet: {one_line(error)}") from error
    names = {label: class_names(features.get(label, {})) for label in columns.labels}
    return table_rows(table, path, choices, names, needs_labels)


def table_rows(
    table: Any, where: Path | str, choices: Choices, names: Mapping[str, Sequence[str] | None], needs_labels: bool
) -> Rows:
    """The rows of an arrow table.

    Args:
        table: a pyarrow Table.
        where: its file, or a name for errors.
        choices: the user's.
        names: of label columns of whole numbers, what these stand for.
        needs_labels: else a table without labels has none.

    Raises:
        UserError: a column that is not there or holds no text, or a row without a text or a label.
    """
    where_name = printable(where.name) if isinstance(where, Path) else where
    columns = find_columns(table.column_names, choices, where_name, list(names), needs_labels)
    labels = {label: once(table[label].to_pylist()) for label in columns.labels}
    kept: list[list[Any]] = [[] for _ in columns.texts]
    good: list[np.ndarray[Any, Any]] = []
    broken: list[str] = []
    _check_types(table.schema, columns, choices, where_name)
    for start in range(0, len(table), BLOCK):
        cells = [_cells(table[name].slice(start, BLOCK)) for name in columns.texts]
        rows = []
        for row, texts in enumerate(zip(*cells, strict=True)):
            wrong = _problem(texts, columns, [labels[name][start + row] for name in columns.labels], choices)
            if wrong is None:
                rows.append(row)
                continue
            if choices.told is not None:
                choices.told(start + row + 1, wrong)
                continue
            broken.append(f"row {start + row + 1} of {where_name}: {wrong}")
            if choices.on_broken == "error":
                raise UserError(f"{broken[0]}; data.on_broken=skip leaves such rows out")
        good.append(start + np.array(rows, dtype=np.int64))
        for each, arrays in zip(cells, kept, strict=True):
            values = [as_line(each[row]) if columns.chat else each[row] for row in rows]
            arrays.append(arrow(values, choices.targets))
    at = np.concatenate(good) if good else np.zeros(0, np.int64)
    if broken:
        log.warning("%s: %d broken rows left out (%s)", where_name, len(broken), broken[0])
    if len(at) < len(table):
        labels = {name: [values[row] for row in at] for name, values in labels.items()}
    if not len(at):
        raise NoRowsError(f"{where_name} holds no row of data{': all are broken' if len(table) else ''}")
    splits = None if columns.split is None else once(table[columns.split].take(at).to_pylist())
    listed = names.get(columns.labels[0]) if len(columns.labels) == 1 else None
    places = Places.of_rows(where, at + 1, "row")
    return Rows([as_array(arrays) for arrays in kept], labels, places, listed, splits, columns.chat)


def once(values: list[Any]) -> list[Any]:
    """The values, equal texts as one object."""
    known: dict[Any, Any] = {}
    return [known.setdefault(value, value) if isinstance(value, str) else value for value in values]


def _cells(column: Any) -> list[Any]:
    """The values of a column as Python objects; bytes that are no UTF-8 as ``surrogateescape`` leaves them."""
    import pyarrow as pa

    try:
        values: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        cells = column.cast(pa.large_binary()).to_pylist() if not pa.types.is_nested(column.type) else []
        values = [None if cell is None else cell.decode("utf-8", "surrogateescape") for cell in cells]
    return values


def _problem(texts: Sequence[Any], columns: Columns, labels: Sequence[Any], choices: Choices) -> str | None:
    if choices.targets == "tokens":
        return words_problem(texts[0], labels, columns.texts[0])
    if columns.chat:
        return messages_problem(texts[0], columns.texts[0])
    wrong = [*map(problem, texts, columns.texts)]
    wrong += [label_problem(*label, choices.label_may_be_empty) for label in zip(labels, columns.labels, strict=True)]
    return next(filter(None, wrong), None)


def _check_types(schema: Any, columns: Columns, choices: Choices, where: str) -> None:
    """A UserError for a column that holds no texts."""
    import pyarrow as pa

    def is_text(kind: Any) -> bool:
        if choices.targets == "tokens":
            return (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and _is_string(kind.value_type)
        return _is_string(kind)

    for name in () if columns.chat else columns.texts:
        if not is_text(schema.field(name).type):
            fitting = [each.name for each in schema if is_text(each.type)]
            what = "lists of words" if choices.targets == "tokens" else "texts"
            raise UserError(
                f"{where}: column {name!r} holds {schema.field(name).type}, not {what}; set data.text= to one of "
                f"{', '.join(fitting) or '(there is none)'}"
            )


def _is_string(kind: Any) -> bool:
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
