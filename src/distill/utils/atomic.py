"""Files that appear whole or not at all: written under a temporary name in the same folder, then renamed."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

from distill.utils.errors import STORAGE, WriteError


@contextmanager
def atomic_path(path: Path, several_writers: bool = False) -> Iterator[Path]:
    """Yields a temporary path that replaces ``path`` if the block succeeds, and is deleted if it fails.

    Args:
        path: the file; its folder is created.
        several_writers: whether other processes may write the same file at the same time; each then has another
            temporary name. Otherwise the leftover of a killed process is overwritten.

    Raises:
        WriteError: the folder or the file.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part" if several_writers else f"{path.name}.part")
    with _cannot_write(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


@contextmanager
def _cannot_write(path: Path) -> Iterator[None]:
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        at = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
        if error.errno in STORAGE if at is None else at.is_relative_to(path.parent) or path.is_relative_to(at):
            raise WriteError(path, error) from error
        raise  # of another file, as one that is read


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yields a new folder that replaces ``path`` as a whole if the block succeeds, and is deleted if it fails.

    Raises:
        WriteError: the folder, or a file in it.
    """
    temporary, earlier = (path.with_name(f"{path.name}.{end}") for end in ("part", "earlier"))
    with _cannot_write(path):
        if earlier.exists() and not path.exists():  # a process was killed, or its disk failed, between the renames
            earlier.replace(path)
        for leftover in (temporary, earlier):
            shutil.rmtree(leftover, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            if path.exists():
                path.replace(earlier)  # never half of it under its name
            temporary.replace(path)
        except BaseException:
            if earlier.exists() and not path.exists():
                earlier.replace(path)
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            if path.exists():
                shutil.rmtree(earlier, ignore_errors=True)


def write_text(path: Path, text: str, several_writers: bool = False) -> None:
    """Writes a text file in UTF-8; see :func:`atomic_path`."""
    with atomic_path(path, several_writers) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any, indent: int | None = None, several_writers: bool = False) -> None:
    """Writes JSON; values that it does not know are written as text. See :func:`atomic_path`."""
    write_text(path, json.dumps(content, indent=indent, default=str) + "\n", several_writers)


def new_folder(path: str) -> str:
    """Makes a folder that nobody else has made: ``path``, or ``path-2``, ``path-3``, ... where it is there already."""
    for number in count(1):
        folder = path if number == 1 else f"{path}-{number}"
        with suppress(FileExistsError):
            Path(folder).mkdir(parents=True)
            return folder
    raise AssertionError
