"""JSON lines: an object per line."""

import json
from pathlib import Path

from distill.data.sources.text_files.lines import lines
from distill.data.sources.text_files.rows import Choices, Collector, Rows, find_columns
from distill.utils.errors import UserError
from distill.utils.files import printable


def jsonl(path: Path, choices: Choices, needs_labels: bool) -> Rows:
    """The rows of a file with a JSON object per line; empty lines are passed over.

    The keys of the first object are the columns. A null or a missing label is an error whatever ``on_broken`` says.

    Raises:
        UserError: a line that is no JSON object or holds no text, a column that is not there, or no line at all.
    """
    rows = Collector(path, choices)
    for number, line in enumerate(lines(path, choices.encoding), 1):
        if not line.strip():
            continue
        if number == 1 and line.lstrip().startswith("["):
            raise UserError(f"{printable(path)} is a JSON array: a file of JSON lines holds an object in each line")
        try:
            cells = json.loads(line.rstrip())
        except RecursionError:
            rows.broken(number, "no JSON: nested too deeply")
            continue
        except ValueError as error:
            rows.broken(number, f"no JSON: {_told(error)}")
            continue
        if not isinstance(cells, dict):
            rows.broken(number, f"no JSON object, but {type(cells).__name__}: {line.strip()[:40]!r}")
            continue
        if rows.columns is None:
            rows.open(find_columns(list(cells), choices, path.name, needs_labels=needs_labels))
        rows.add(number, cells)
    return rows.finish()


def _told(error: ValueError) -> str:
    return f"{error.msg} (column {error.colno})" if isinstance(error, json.JSONDecodeError) else str(error)
