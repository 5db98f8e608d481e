"""The lines of text files, and what is no text file of the encoding that is expected."""

import codecs
import io
from collections.abc import Iterator
from pathlib import Path

from distill.utils.errors import UserError, one_line
from distill.utils.files import open_file, printable

_CONTROLS = bytes({*range(32)} - {*b"\t\n\v\f\r\x1b"})
NAMES_COLUMNS = "; of a file without such a line name them in data.source.columns=[...]"
_OF_TRAINING = (NAMES_COLUMNS, ", or set task=embedding")


def lines(path: Path, encoding: str) -> Iterator[str]:
    """The lines of a text file with their ends; bytes that are none of the encoding as ``surrogateescape`` leaves them.

    Raises:
        UserError: the file cannot be read, is no text file, or is in UTF-16 where UTF-8 is expected.
    """
    try:
        with open_file(path) as file:
            wrong = encoding_problem(file.peek(2), encoding)  # type: ignore[attr-defined]
            if wrong is not None:
                raise UserError(f"{printable(path)} {wrong}")
            with io.TextIOWrapper(file, codec(encoding), "surrogateescape", newline="\n") as text:
                yield from text
    except (OSError, UnicodeError) as error:
        raise UserError(f"{printable(path)} cannot be read: {one_line(error)}") from error


def codec(encoding: str) -> str:
    """The name of Python's codec, of UTF-8 the one that passes over a byte order mark."""
    return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding


def encoding_problem(content: bytes, encoding: str) -> str | None:
    """What is wrong with the beginning of a file ("is no text file"); None: nothing, or another encoding than UTF-8."""
    if codecs.lookup(encoding).name != "utf-8":
        return None
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "is text in UTF-16: save it as UTF-8, or set data.source.encoding=utf-16"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(content)  # which may end within a character
        return None
    except UnicodeDecodeError:
        others = len(content) - len(content.translate(None, _CONTROLS))
        return "is no text file" if b"\0" in content and others > len(content) / 50 else None


def outside_training(reason: str) -> str:
    """What is wrong with a file, with keys as other commands call them, without advice that holds in training alone."""
    for advice in _OF_TRAINING:
        reason = reason.replace(advice, "")
    return reason.replace("data.source.encoding=", "encoding=")
