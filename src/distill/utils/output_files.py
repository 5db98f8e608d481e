"""Files of results: checked before the work, written over no file of somebody else, whole or not at all."""

import json
import re
from pathlib import Path
from typing import Any

from distill.utils.checked import sign_json
from distill.utils.errors import UserError

GENERATOR = "distill"
META = f'<meta name="generator" content="{GENERATOR}">'
_NUMBERS = re.compile(r"\[\s+((?:(?:[-+.\deE]+|null),?\s+)+)\]")


def check_parents(path: Path) -> None:
    """A UserError if a file stands where one of the path's folders must be."""
    blocked = next((p for p in path.parents if p.exists() and not p.is_dir()), None)
    if blocked is not None:
        raise UserError(f"output: {blocked} is a file, and a folder is needed there")


def check_file_path(path: Path) -> None:
    """A UserError if the path is a folder, or lies below a file."""
    check_parents(path)
    if path.is_dir():
        raise UserError(f"output: {path} is a folder, and a file is to be written there")


def _ours(path: Path) -> bool:
    """Whether a file was written by these commands."""
    try:
        with path.open(encoding="utf-8") as file:
            if path.suffix != ".json":
                return META in file.read(4096)  # in the head of a page, which may have megabytes
            content = json.load(file)
    except (OSError, ValueError):
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


def as_json(content: dict[str, Any]) -> str:
    """Indented JSON with every list of numbers on one line, marked as ours, with its checksum.

    Example:
        >>> print(as_json({"a": [1, 2]}))
        {
          "checksum": "98f5fb13",
          "generator": "distill",
          "a": [1, 2]
        }
        <BLANKLINE>
    """
    text = json.dumps({"generator": GENERATOR, **content}, indent=2, allow_nan=False)
    return sign_json(_NUMBERS.sub(lambda match: f"[{' '.join(match.group(1).split())}]", text))
