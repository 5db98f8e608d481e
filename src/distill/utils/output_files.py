"""Files of results: checked before the work, written over no file of somebody else, whole or not at all."""

import json
import re
from pathlib import Path
from typing import Any

from distill.utils import atomic
from distill.utils.errors import UserError

GENERATOR = "distill"
META = f'<meta name="generator" content="{GENERATOR}">'
_NUMBERS = re.compile(r"\[\s+((?:(?:[-+.\deE]+|null),?\s+)+)\]")


def check_parents(path: Path) -> None:
    """Checks that no file stands where one of the path's folders must be.

    Raises:
        UserError: one does.
    """
    blocked = next((p for p in path.parents if p.exists() and not p.is_dir()), None)
    if blocked is not None:
        raise UserError(f"output: {blocked} is a file, and a folder is needed there")


def check_file_path(path: Path) -> None:
    """Checks that a file can be written there.

    Raises:
        UserError: the path is a folder, or lies below a file.
    """
    check_parents(path)
    if path.is_dir():
        raise UserError(f"output: {path} is a folder, and a file is to be written there")


def cannot_write(path: Path, error: OSError) -> UserError:
    """The error of a path that the system refuses."""
    return UserError(f"{path} cannot be written: {error.strerror or error}")


def _ours(path: Path) -> bool:
    """Whether a file was written by these commands."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError):
        return False
    if path.suffix != ".json":
        return META in text
    try:
        content = json.loads(text)
    except ValueError:
        return False
    return isinstance(content, dict) and content.get("generator") == GENERATOR


def claim(paths: list[Path], overwrite: bool) -> None:
    """Checks that the files may be written, before the work that fills them.

    Raises:
        UserError: one exists and is not ours, or its folder is a file.
    """
    for path in paths:
        check_file_path(path)
        if path.exists() and not overwrite and not _ours(path):
            raise UserError(f"{path} exists and was not written by this command: choose output=, or overwrite=true")


def write(text: str, path: Path) -> None:
    """A text file, whole or not at all; its folder is made.

    Raises:
        UserError: the folder cannot be written to.
    """
    try:
        atomic.write_text(path, text)
    except OSError as error:
        raise cannot_write(path, error) from error


def as_json(content: dict[str, Any]) -> str:
    """Indented JSON with every list of numbers on one line, marked as ours.

    Example:
        >>> print(as_json({"a": [1, 2]}))
        {
          "generator": "distill",
          "a": [1, 2]
        }
        <BLANKLINE>
    """
    text = json.dumps({"generator": GENERATOR, **content}, indent=2, allow_nan=False)
    return _NUMBERS.sub(lambda match: f"[{' '.join(match.group(1).split())}]", text) + "\n"
