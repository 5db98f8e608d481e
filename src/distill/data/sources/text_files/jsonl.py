"""JSON lines: an object per line."""

import json
from pathlib import Path
from typing import Any

from distill.data.sources.text_files.lines import lines
from distill.data.sources.text_files.rows import Choices, Collector, Columns, Rows, find_columns
from distill.data.text.problems import kind
from distill.utils.errors import UserError
from distill.utils.files import printable


def jsonl(path: Path, choices: Choices, needs_labels: bool) -> Rows:
    """The rows of a file with a JSON object per line; empty lines are passed over.

    The keys of the first object are the columns.

    Raises:
        UserError: a line that is no JSON object, or has no text, no label or one of them twice; a column that is not
            there; no line at all.
    """
    rows = Collector(path, choices)
    decoder = json.JSONDecoder(object_pairs_hook=_object)  # json.loads would build one for each line
    for number, line in enumerate(lines(path, choices.encoding), 1):
        if not line.strip():
            continue
        if number == 1 and line.lstrip().startswith("["):
            raise UserError(f"{printable(path)} is a JSON array: a file of JSON lines holds an object in each line")
        try:
            cells = decoder.decode(line.rstrip())
        except RecursionError:
            rows.broken(number, "no JSON: nested too deeply")
            continue
        except ValueError as error:
            rows.broken(number, f"no JSON: {_told(error)}")
            continue
        if not isinstance(cells, dict):
            rows.broken(number, f"no JSON object, but {kind(cells)}")
            continue
        if rows.columns is None:
            rows.open(find_columns(list(cells), choices, path.name, needs_labels=needs_labels))
        twice = _twice(cells, rows.columns)
        if twice is None:
            rows.add(number, cells)
        else:
            rows.broken(number, f"the key {twice!r} stands in it twice")
    return rows.finish()


class _Repeated(dict[str, Any]):
    """An object some of whose keys stand in it more than once: ``repeated``."""

    repeated: frozenset[str] = frozenset()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    cells = dict(pairs)
    if len(cells) < len(pairs):
        cells = _Repeated(cells)
        names = [name for name, _ in pairs]
        cells.repeated = frozenset(name for name in names if names.count(name) > 1)
    return cells


def _twice(cells: dict[str, Any], columns: Columns | None) -> str | None:
    """A key that is read and stands twice in an object; None: there is none."""
    if columns is None or not isinstance(cells, _Repeated):
        return None
    return next((name for name in (*columns.texts, *columns.labels, columns.split) if name in cells.repeated), None)


def _told(error: ValueError) -> str:
    return f"{error.msg} (column {error.colno})" if isinstance(error, json.JSONDecodeError) else str(error)
