"""Records in JSON and YAML that begin with a checksum: what was damaged on disk is not taken for what was written.

In JSON it is the first key, in YAML a comment. It is of the text behind it, so that a record that another program wrote
anew, or that has none, is read as it is.
"""

import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from distill.utils.atomic import write_text

_SIGNED = re.compile(rb'(?:\{\n  "checksum": "(?=.*\}\n\Z)|# checksum: )(\w+)(?:",)?\n(.*)', re.DOTALL)


def _checksum(text: bytes) -> str:
    return f"{zlib.crc32(text):08x}"


def sign_json(text: str) -> str:
    """The text of an indented JSON object with ``checksum`` as its first key."""
    text = text.removeprefix("{\n").rstrip() + "\n"
    return f'{{\n  "checksum": "{_checksum(text.encode())}",\n{text}'


def write_json(path: Path, content: Mapping[str, Any], several_writers: bool = False) -> None:
    """Writes a JSON object with its checksum; values that JSON does not know are written as text."""
    write_text(path, sign_json(json.dumps(content, indent=2, default=str)), several_writers)


def write_yaml(path: Path, text: str, several_writers: bool = False) -> None:
    """Writes YAML with its checksum."""
    write_text(path, f"# checksum: {_checksum(text.encode())}\n{text}", several_writers)


def verified(path: Path) -> bytes:
    """The content of a record, whose checksum is right or missing.

    Raises:
        OSError: it cannot be read.
        ValueError: its checksum is wrong.
    """
    text = path.read_bytes()
    if (signed := _SIGNED.fullmatch(text)) and _checksum(signed[2]) != signed[1].decode():
        raise ValueError("its checksum is wrong: the file was damaged, or edited (without its checksum it is used)")
    return text


def parse(path: Path) -> dict[str, Any]:
    """The object in a JSON or YAML file, by its suffix.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON or YAML, holds no object, or its checksum is wrong.
    """
    text = verified(path)
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where PyYAML has that
        content = json.loads(text) if path.suffix == ".json" else yaml.load(text, loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from error
    if not isinstance(content, dict):
        raise ValueError("it holds no object")
    if path.suffix == ".json":
        content.pop("checksum", None)
    return content
