"""The lines of text files, and what is no text file of the encoding that is expected."""

import codecs
import io
from collections.abc import Iterator
from pathlib import Path

from distill.utils.errors import UserError, one_line
from distill.utils.files import open_file, printable


def lines(path: Path, encoding: str) -> Iterator[str]:
    """The lines of a text file with their ends; bytes that are none of the encoding as ``surrogateescape`` leaves them.

    Raises:
        UserError: the file cannot be read, or is in UTF-16 where another encoding is expected.
    """
    try:
        with open_file(path) as file:
            check_encoding(file.peek(2), path, encoding)  # type: ignore[attr-defined]
            with io.TextIOWrapper(file, codec(encoding), "surrogateescape", newline="\n") as text:
                yield from text
    except (OSError, UnicodeError) as error:
        raise UserError(f"{printable(path)} cannot be read: {one_line(error)}") from error


def codec(encoding: str) -> str:
    """The name of Python's codec, of UTF-8 the one that passes over a byte order mark."""
    return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding


def check_encoding(content: bytes, path: Path, encoding: str) -> None:
    """A UserError for the beginning of a file in UTF-16 where it is expected to be UTF-8."""
    if codecs.lookup(encoding).name == "utf-8" and content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{printable(path)} is text in UTF-16: save it as UTF-8, or set data.source.encoding=utf-16")
