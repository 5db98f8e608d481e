"""CSV and TSV: a row per line, or several lines where a text in quotes has them."""

import csv
import itertools
import math
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from distill.data.sources.csv import delimiter_of
from distill.data.sources.text_files.lines import NAMES_COLUMNS, lines
from distill.data.sources.text_files.rows import Choices, Collector, Columns, Rows, find_columns
from distill.data.text.problems import problem
from distill.utils.errors import UserError
from distill.utils.files import printable

Record = tuple[int, list[str] | str]  # the number of its first line, and its cells, or what is wrong with it


def delimited(path: Path, choices: Choices, needs_labels: bool) -> Rows:
    """The rows of a CSV or TSV file, whose first line names the columns (unless ``choices.columns`` does).

    Columns are separated by commas, semicolons or tabs. In a TSV file a quotation mark is one where more lines can be
    read so, as in the files of GLUE; else it begins and ends a text, as in CSV.

    Raises:
        UserError: a line of another length or without a text or label, a column that is not there, no line at all, or,
            whatever ``on_broken`` says, a quotation mark that opens a text and is never closed.
    """
    name, is_tsv = printable(path.name), path.suffix.lower() in (".tsv", ".tab")
    with _long_cells():
        records = _best(path, choices.encoding) if is_tsv else _quoted(lines(path, choices.encoding), None, name)
        header = _header(next(records, (1, [])), name) if choices.columns is None else list(map(str, choices.columns))
        rows = Collector(path, choices)
        rows.open(_columns(header, choices, name, needs_labels))
        for number, cells in records:
            if isinstance(cells, str):
                rows.broken(number, cells)
            elif any(map(str.strip, cells)):
                if len(cells) != len(header):
                    columns = f"{len(header)} columns ({', '.join(header)})"
                    rows.broken(number, f"{len(cells)} values, and there are {columns}")
                else:
                    rows.add(number, dict(zip(header, cells, strict=True)))
    return rows.finish()


def _header(record: Record, name: str) -> list[str]:
    number, cells = record
    if isinstance(cells, str):
        raise UserError(f"line {number} of {name}: {cells}")
    header = [cell.strip() for cell in cells]
    named = [cell for cell in header if cell]  # pandas leaves its index without a name
    if not named or len(set(named)) < len(named):
        raise UserError(
            f"{name}: the first line must name each column once, got {', '.join(header)[:200] or 'nothing'}"
            f"{NAMES_COLUMNS}"
        )
    for cell in named:
        wrong = problem(cell, "name of a column")
        if wrong is not None:
            raise UserError(f"line {number} of {name}: {wrong}")
    return header


def _columns(header: list[str], choices: Choices, name: str, needs_labels: bool) -> Columns:
    try:
        return find_columns([cell for cell in header if cell], choices, name, needs_labels=needs_labels)
    except UserError as error:
        if "" in header:  # perhaps a line of data
            raise UserError(f"{error}{NAMES_COLUMNS}") from error
        text = next((cell for cell in header if len(cell) > 40 or cell.count(" ") > 3), None)
        if text is None and choices.text is None and choices.label is None:
            text = next((cell for cell in header if re.fullmatch(r"[\d.]+", cell)), None)
        if choices.columns is not None or text is None:
            raise
        raise UserError(
            f"{name}: the first line must name the columns, and it holds {text[:40]!r}{NAMES_COLUMNS}"
        ) from None


class _OpenQuoteError(UserError):
    """A quotation mark that takes the lines behind it into one text: no line can be told from another there."""


def _quoted(text: Iterable[str], delimiter: str | None, name: str) -> Iterator[Record]:
    """The records of a file in which quotation marks enclose texts; None: the delimiter by the first line."""
    stream = iter(text)
    if delimiter is None:
        first = next(stream, "")
        delimiter = delimiter_of(first)
        stream = itertools.chain([first], stream)
    reader = csv.reader(stream, delimiter=delimiter, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            yield number, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            reason = _csv_problem(error)
            if reason is None or reader.line_num > number:
                last = f" (the next one, in line {reader.line_num}, stands within a text)" if reason else ""
                raise _OpenQuoteError(f"{name}: a quote opened in line {number} is never closed{last}") from error
            yield number, reason


def _csv_problem(error: csv.Error) -> str | None:
    """What is wrong with a line, in our words; None: the file ends within quotation marks."""
    message = str(error)
    if message == "unexpected end of data":
        return None
    if message.startswith("new-line character seen"):
        return "a carriage return stands in it, outside of quotation marks"
    return f"no CSV: {message}"


def _plain(text: Iterable[str]) -> Iterator[Record]:
    """The records of a file in which a quotation mark is no more than that, save where CSV's writers enclosed it."""
    for number, line in enumerate(text, 1):
        cells = line.rstrip("\r\n").split("\t")
        yield number, [_unquoted(cell) for cell in cells] if '""' in line else cells


def _unquoted(cell: str) -> str:
    """A text that was enclosed because it holds quotation marks, each of them twice."""
    inner = cell[1:-1]
    if len(cell) > 3 and cell[0] == cell[-1] == '"' and '""' in inner and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"')
    return cell


def _best(path: Path, encoding: str) -> Iterator[Record]:
    """The records of a TSV file, read in the way that leaves fewer lines broken."""
    broken, name = _broken(_plain(lines(path, encoding))), printable(path.name)
    header = next(lines(path, encoding), "")
    if header.startswith('"') or (broken and _broken(_quoted(lines(path, encoding), "\t", name)) < broken):
        return _quoted(lines(path, encoding), "\t", name)
    return _plain(lines(path, encoding))


def _broken(records: Iterator[Record]) -> float:
    """How many records are broken; infinity: it cannot be said where they end."""
    count, width = 0, 0
    try:
        for _, cells in records:
            if isinstance(cells, str):
                count += 1
            elif _is_given(cells):
                width = width or len(cells)
                count += len(cells) != width
    except _OpenQuoteError:
        return math.inf
    return count


def _is_given(cells: Sequence[str]) -> bool:
    return any(map(str.strip, cells))


@contextmanager
def _long_cells() -> Iterator[None]:
    """A cell may be longer than the 131,072 characters that Python's csv allows."""
    limit = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(limit)
