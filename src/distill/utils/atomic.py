"""Files that appear whole or not at all: written under a temporary name in the same folder, then renamed."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def atomic_path(path: Path, several_writers: bool = False) -> Iterator[Path]:
    """Yields a temporary path that replaces ``path`` if the block succeeds, and is deleted if it fails.

    Args:
        path: the file; its folder is created.
        several_writers: whether other processes may write the same file at the same time; each then has another
            temporary name. Otherwise the leftover of a killed process is overwritten.

    Raises:
        OSError: the folder or the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part" if several_writers else f"{path.name}.part")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yields a new folder that replaces ``path`` as a whole if the block succeeds, and is deleted if it fails.

    Raises:
        OSError: the folder cannot be made.
    """
    temporary = path.with_name(f"{path.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str, several_writers: bool = False) -> None:
    """Writes a text file in UTF-8; see :func:`atomic_path`."""
    with atomic_path(path, several_writers) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any, indent: int | None = None, several_writers: bool = False) -> None:
    """Writes JSON; values that it does not know are written as text. See :func:`atomic_path`."""
    write_text(path, json.dumps(content, indent=indent, default=str) + "\n", several_writers)
