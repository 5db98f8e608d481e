"""Modules of the user's own: in which folders they are looked for."""

import os
import sys
from collections.abc import Iterable, Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from distill.config.paths import home, text
from distill.utils.errors import UserError

KEY = "code"
HELP = "the folder of those modules; null: the one that the run recorded, or the current folder"
FOLDERS = "DISTILL_CODE"  # in the environment: those folders, for processes that this one starts


def add(*folders: str | Path | None) -> None:
    """Lets modules be found in these folders, behind everything that is installed."""
    known = [path for path in os.environ.get(FOLDERS, "").split(os.pathsep) if path]
    for folder in folders:
        path = "" if folder is None else str(Path(home(str(folder))).resolve())
        known += [path] if path and path not in known else []
    sys.path += [path for path in known if path not in sys.path]
    os.environ[FOLDERS] = os.pathsep.join(known)


def given(overrides: Iterable[str]) -> str | None:
    """The value of ``code=`` on a command line."""
    return next((text(each) for each in overrides if each.startswith(f"{KEY}=") and each != f"{KEY}=null"), None)


def check_folder(folder: str | None) -> None:
    """A ``UserError`` unless it is a folder, or None."""
    if folder is not None and not Path(home(folder)).is_dir():
        raise UserError(f"{KEY}: folder {folder} does not exist")


def recorded(config: Mapping[str, Any], run: Path) -> str | None:
    """The folder that a run recorded, as far as it is there; None where it lies in the run's own folder."""
    folder = config.get(KEY)
    if not isinstance(folder, str) or not Path(home(folder)).is_dir():
        return None
    return None if Path(home(folder)).resolve().is_relative_to(run.resolve()) else folder


def hint(target: str) -> str:
    """What to do about a module of the user's own that is not there, or is another one; nothing is imported."""
    module = target.partition(".")[0]
    if module in sys.stdlib_module_names:
        return ""
    found = PathFinder.find_spec(module)
    if found is None:
        return f"; a module of your own is looked for in {KEY}=<folder>, the folder of --config-dir, the current folder"
    return f" ({module} is {found.origin})" if found.origin else ""
