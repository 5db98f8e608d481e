"""A command line taken apart, and ``resume`` turned into the command it stands for."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from distill.utils.errors import UserError

RECORD = "command.yaml"  # of a run: its overrides, see :func:`record`
SWEEP = "sweep.yaml"  # of a sweep: likewise
WITH_VALUE = ("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--cfg", "-c", "--package", "-p")
MULTIRUN = ("-m", "--multirun")
RESUME, RESUME_SWEEP = "resume", "sweep.resume"


RENAMED = ((re.compile(r"^([+~]*kd\.terms\.[^.=]+)\.preparation\b"), r"\1.pretraining"),)  # of 0.1
Overrides = Sequence[str] | Mapping[str, Any]
_PLAIN = re.compile(r"[\w./-]+")  # text that Hydra's grammar takes without quotes


def current_name(override: str) -> str:
    """An override, or a key, in which a key of an earlier version has its present name.

    Example:
        >>> current_name("kd.terms.ft.preparation.epochs=3")
        'kd.terms.ft.pretraining.epochs=3'
    """
    for pattern, replacement in RENAMED:
        override = pattern.sub(replacement, override)
    return override


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """A command line as its flags, each with its value, and its overrides."""
    flags: list[str] = []
    overrides: list[str] = []
    rest = list(argv)
    while rest:
        arg = rest.pop(0)
        if arg.startswith("-"):
            flags.append(arg)
            if arg in WITH_VALUE and rest:
                flags.append(rest.pop(0))
        else:
            overrides.append(arg)
    return flags, overrides


def config_dir(argv: Sequence[str]) -> str | None:
    """The value of ``--config-dir``."""
    for flag, value in pairwise([*split(argv)[0], ""]):
        if flag in ("--config-dir", "-cd"):
            return value
        if flag.startswith("--config-dir="):
            return flag.partition("=")[2]
    return None


def record(argv: Sequence[str]) -> dict[str, Any]:
    """What is needed to repeat a command from any folder: its overrides, and the absolute ``--config-dir``."""
    overrides = [o for o in split(argv)[1] if not o.startswith((f"{RESUME}=", f"{RESUME_SWEEP}="))]
    folder = config_dir(argv)
    return {"overrides": overrides, "config_dir": str(Path(folder).resolve()) if folder else None}


def resumed(argv: Sequence[str]) -> list[str]:
    """The command that ``resume=`` or ``sweep.resume=`` stands for; any other one as it is, flags first.

    - ``resume=<folder or checkpoint>``: the recorded overrides before those of ``argv``, in the run's folder.
    - ``sweep.resume=<folder>``, or ``resume=<a sweep's folder>``: the recorded overrides before those of ``argv``
      (which win), as a multirun into the sweep's folder.

    Raises:
        UserError: there is no such run or sweep.
    """
    flags, overrides = split(argv)
    for key in (RESUME_SWEEP, RESUME):
        value = next((o.partition("=")[2].strip("'\"") for o in overrides if o.startswith(f"{key}=")), None)
        if key == RESUME_SWEEP and value == "":
            raise UserError(f"{key}= names no folder")
        if not value or value == "null":
            continue
        path = Path(value)
        if not path.exists():
            raise UserError(f"{key}: {path} does not exist")
        if key == RESUME_SWEEP or (path / SWEEP).is_file():
            return _resumed_sweep(key, path, flags, [o for o in overrides if not o.startswith(f"{key}=")])
        folder = path if path.is_dir() else path.parent.parent
        if not (folder / RECORD).is_file():
            raise UserError(f"{key}: {path} belongs to no run (no {folder / RECORD})")
        return _again(folder / RECORD, flags, [*overrides, f"hydra.run.dir={quoted(folder)}"])
    return [*flags, *overrides]  # Hydra's parser takes no override after a flag that follows one


def _resumed_sweep(key: str, folder: Path, flags: list[str], overrides: list[str]) -> list[str]:
    if (folder / RECORD).is_file():
        raise UserError(f"{key}: {folder} is a single run: continue it with resume={folder}")
    if not (folder / SWEEP).is_file():
        raise UserError(f"{key}: {folder} is no sweep's folder (no {folder / SWEEP})")
    flags = flags if any(flag in MULTIRUN for flag in flags) else [*flags, "--multirun"]
    return _again(folder / SWEEP, flags, [*overrides, f"hydra.sweep.dir={quoted(folder)}"])


def _again(file: Path, flags: list[str], overrides: list[str]) -> list[str]:
    """The recorded command with ``overrides`` appended; these replace recorded ones of the same key."""
    recorded: Any = OmegaConf.to_container(OmegaConf.load(file))
    if recorded["config_dir"] and not config_dir(flags):
        flags = [*flags, "--config-dir", recorded["config_dir"]]
    replaced = {o.partition("=")[0] for o in overrides}
    return [*flags, *(o for o in recorded["overrides"] if o.partition("=")[0] not in replaced), *overrides]


def quoted(path: Path | str) -> str:
    """A value as Hydra's grammar takes it, whatever characters it has."""
    return "'" + str(path).replace("'", "\\'") + "'"


def hydra_value(value: Any) -> str:
    """A Python value in Hydra's grammar."""
    if value is None:
        return "null"
    if isinstance(value, bool | int | float):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{hydra_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(hydra_value, value)) + "]"
    text = str(value)
    return text if _PLAIN.fullmatch(text) else quoted(text)


def as_overrides(settings: Overrides) -> list[str]:
    """Settings as the overrides of a command line.

    Args:
        settings: overrides as they are; or a mapping, whose nested mappings are parts of the configuration (one with
            the key ``schedule`` is a schedule).

    Example:
        >>> as_overrides({"model": "resnet8", "kd": ["dkd", "sp"], "trainer": {"max_epochs": 2}})
        ['model=resnet8', 'kd=[dkd,sp]', 'trainer.max_epochs=2']
        >>> as_overrides({"kd.T": {"schedule": "linear", "start": 8, "end": 2}})
        ['kd.T={schedule:linear,start:8,end:2}']
    """
    if isinstance(settings, str):
        raise UserError(f"overrides are a list or a mapping, got the text {settings!r}: write [{settings!r}]")
    if not isinstance(settings, Mapping):
        return [str(override) for override in settings]
    overrides = []
    for key, value in settings.items():
        if isinstance(value, Mapping) and value and "schedule" not in value:
            overrides += as_overrides({f"{key}.{name}": item for name, item in value.items()})
        else:
            overrides.append(f"{key}={hydra_value(value)}")
    return overrides
