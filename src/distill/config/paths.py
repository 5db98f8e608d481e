"""Paths on a command line and in a configuration, whatever characters they have."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from distill.utils.errors import UserError

KEYS = ("data.root", "data.source.root", "teacher.checkpoint", "teacher.backbone", "model.backbone", "init", "resume",
        "sweep.resume", "teachers_dir", "code", "cache.dir", "hydra.run.dir", "hydra.sweep.dir")  # fmt: skip
FOLDERS = ("hydra.run.dir", "hydra.sweep.dir")  # which Hydra makes
_FINAL_BACKSLASHES = re.compile(r"(\\*)('|$)")  # Hydra reads those before a quote as escapes, and no others
_INTERPOLATION = re.compile(r"(\\*)\$\{")


def quoted(path: Path | str) -> str:
    r"""A value as Hydra's grammar takes it, whatever characters it has.

    Example:
        >>> print(quoted("it's"))
        'it\'s'
    """
    return _quote(literal(str(path)))


def literal(text: str) -> str:
    """A text that OmegaConf does not take for an interpolation, though it has ``${``."""
    return _INTERPOLATION.sub(r"\1\1\\${", text)


def _quote(text: str) -> str:
    return "'" + _FINAL_BACKSLASHES.sub(lambda match: 2 * match[1] + (r"\'" if match[2] else ""), text) + "'"


def parsed(override: str) -> Any:
    """What Hydra's grammar reads; None where it reads nothing."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None


def text(override: str) -> str:
    """The value of an override as text."""
    value = override.partition("=")[2]
    read = parsed(override)
    if read is None or read.is_sweep_override() or not isinstance(read.value(), str):
        return value
    return re.sub(r"(\\*)\\\$\{", lambda match: match[1][::2] + "${", str(read.value()))


def readable(overrides: Iterable[str], multirun: bool) -> list[str]:
    """Overrides in which a path that Hydra's grammar does not read as text is quoted.

    Example:
        >>> readable(["data.root=~/my photos (1)", "init=2026", "resume=null", "kd.T=4"], False)
        ["data.root='~/my photos (1)'", "init='2026'", 'resume=null', 'kd.T=4']
    """
    return [_readable(override, multirun) for override in overrides]


def _readable(override: str, multirun: bool) -> str:
    key, equals, value = override.partition("=")
    if key == "--config-dir" and equals:  # a shell expands what stands alone
        return f"{key}={home(value)}"
    if key.lstrip("+") in FOLDERS and value in ("", "''", '""', "null"):
        raise UserError(f"{key}= names no folder; the present one is {key}=.")
    if key.lstrip("+") not in KEYS or not value or value == "null":
        return override
    read = parsed(override)
    sweep = read is not None and read.is_sweep_override()
    if read is None or (not multirun if sweep else isinstance(read.value(), int | float)):
        value = _quote(value)
    if key.startswith("hydra."):  # Hydra makes the folder before the configuration is seen
        value = re.sub(r"^(['\"]?)(~[^/'\"]*)", lambda match: match[1] + os.path.expanduser(match[2]), value)  # noqa: PTH111
    return f"{key}={value}"


def home(path: str) -> str:
    """A path in which ``~`` and ``~user`` are the folder of that user, as a shell reads it."""
    return os.path.expanduser(path) if path.startswith("~") and not os.path.lexists(path) else path  # noqa: PTH111


def expand_home(node: Any) -> None:
    """Replaces ``~`` and ``~user`` at the beginning of every text of a configuration, in place."""
    keys: Iterable[Any] = range(len(node)) if isinstance(node, ListConfig) else list(node)
    for key in keys:
        if OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key):
            continue
        value = node[key]
        if isinstance(value, DictConfig | ListConfig):
            expand_home(value)
        elif isinstance(value, str) and (path := home(value)) != value:
            node[key] = path
