"""JSON lines: an object per line."""

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distill.data.sources.text_files.lines import lines
from distill.data.sources.text_files.rows import Choices, Collector, Columns, Rows, find_columns
from distill.data.text.problems import kind
from distill.utils.errors import UserError
from distill.utils.files import printable

_FIRST = 1000  # objects whose keys are the columns


def jsonl(path: Path, choices: Choices, needs_labels: bool) -> Rows:
    """The rows of a file with a JSON object per line; empty lines are passed over.

    The keys of the first thousand objects are the columns.

    Raises:
        UserError: a line that is no JSON object, or has no text, no label or one of them twice; a column that is not
            there; no line at all.
    """
    rows, records = Collector(path, choices), _records(path, choices)
    first = list(itertools.islice(records, _FIRST))
    names = list(dict.fromkeys(name for _, cells in first if isinstance(cells, dict) for name in cells))
    if any(isinstance(cells, dict) for _, cells in first):
        rows.open(find_columns(names, choices, path.name, needs_labels=needs_labels))
    for number, cells in itertools.chain(first, records):
        twice = None if isinstance(cells, str) else _twice(cells, rows.columns)
        if isinstance(cells, str) or twice is not None:
            rows.broken(number, cells if isinstance(cells, str) else f"the key {twice!r} stands in it twice")
            continue
        if rows.columns is None:
            rows.open(find_columns(list(cells), choices, path.name, needs_labels=needs_labels))
        rows.add(number, cells)
    return rows.finish()


def _records(path: Path, choices: Choices) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """The objects of a file with the numbers of their lines; of a line that holds none what is wrong with it."""
    decoder = json.JSONDecoder(object_pairs_hook=_object)  # json.loads would build one for each line
    for number, line in enumerate(lines(path, choices.encoding), 1):
        if not line.strip():
            continue
        if number == 1 and line.lstrip().startswith("["):
            raise UserError(f"{printable(path)} is a JSON array: a file of JSON lines holds an object in each line")
        try:
            cells = decoder.decode(line.rstrip())
        except RecursionError:
            yield number, "no JSON: nested too deeply"
        except ValueError as error:
            yield number, f"no JSON: {_told(error)}"
        else:
            yield number, cells if isinstance(cells, dict) else f"no JSON object, but {kind(cells)}"


class _Repeated(dict[str, Any]):
    """An object some of whose keys stand in it more than once: ``repeated``."""

    repeated: frozenset[str] = frozenset()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    cells = dict(pairs)
    if len(cells) < len(pairs):
        cells = _Repeated(cells)
        counts = Counter(name for name, _ in pairs)
        cells.repeated = frozenset(name for name, count in counts.items() if count > 1)
    return cells


def _twice(cells: dict[str, Any], columns: Columns | None) -> str | None:
    """A key that is read and stands twice in an object; None: there is none."""
    if columns is None or not isinstance(cells, _Repeated):
        return None
    return next((name for name in (*columns.texts, *columns.labels, columns.split) if name in cells.repeated), None)


def _told(error: ValueError) -> str:
    return f"{error.msg} (column {error.colno})" if isinstance(error, json.JSONDecodeError) else str(error)
