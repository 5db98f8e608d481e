"""Weights in several files, as transformers writes large models: an index, and the shards that it names.

Source: https://huggingface.co/docs/transformers/big_models (``model.safetensors.index.json``, also of ``.bin`` files).
"""

import json
import re
from pathlib import Path

from distill.utils.errors import UserError

INDEX = ".index.json"
_SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})(\.\w+)")


def is_index(path: Path) -> bool:
    """Whether a file's name is that of an index."""
    return path.name.endswith(INDEX)


def weight_map(path: Path) -> dict[str, Path]:
    """The shard of every tensor that an index names.

    Raises:
        UserError: it is no index, or names a file that is not in its folder.
    """
    try:
        files = json.loads(path.read_bytes())["weight_map"]
        named = {str(name): str(file) for name, file in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"checkpoint {path} is no index of shards: it has no weight_map of names and files") from error
    for file in sorted(set(named.values())):
        if Path(file).name != file or not (path.parent / file).is_file():
            raise UserError(f"checkpoint {path} names the shard {file!r}, which is no file in its folder")
    return {name: path.parent / file for name, file in named.items()}


def check_whole(path: Path) -> None:
    """A UserError for one shard of several in place of their index."""
    if (match := _SHARD.fullmatch(path.name)) and int(match[2]) > 1:
        raise UserError(f"{path} is one of {int(match[2])} shards: give their index, {match[1]}{match[3]}{INDEX}")
