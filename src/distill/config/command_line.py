"""A command line taken apart, and ``resume`` turned into the command it stands for."""

import re
from collections.abc import Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from distill.config import trust
from distill.config.paths import home, quoted, text
from distill.utils import checked
from distill.utils.errors import UserError, first_line
from distill.utils.invocation import shell_word

RECORD = "command.yaml"  # of a run: its overrides, see :func:`record`
SWEEP = "sweep.yaml"  # of a sweep: likewise
WITH_VALUE = ("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--cfg", "-c", "--package", "-p")
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
MULTIRUN = ("-m", "--multirun")
RESUME, RESUME_SWEEP = "resume", "sweep.resume"

Overrides = Sequence[str] | Mapping[str, Any]
_NEW_TERM = re.compile(r"^\+{1,2}(kd\.terms\.([\w-]+)(?:\.[^=]*)?=.*)$", re.DOTALL)
_PREPARATION = re.compile(r"^([+~]*kd\.terms\.[^.=]+)\.preparation\b")  # the key's name in 0.1
_UNREADABLE = (OSError, ValueError, TypeError, AssertionError, RecursionError, yaml.YAMLError, OmegaConfBaseException)
_PLAIN = re.compile(r"[\w./-]+", re.ASCII)  # text that Hydra's grammar takes without quotes


def current_name(override: str) -> str:
    """An override, or a key, in which a key of an earlier version has its present name.

    Example:
        >>> current_name("kd.terms.ft.preparation.epochs=3")
        'kd.terms.ft.pretraining.epochs=3'
    """
    return _PREPARATION.sub(r"\1.pretraining", override)


def with_new_terms(arguments: Sequence[str]) -> list[str]:
    """A command line whose ``+kd.terms.<name>…`` may name a term that no YAML file has.

    OmegaConf lets a key appear in a typed mapping only as a whole; so the term comes first, empty.

    Example:
        >>> with_new_terms(["kd=at", "+kd.terms.mine.loss._target_=losses.Mine"])
        ['kd=at', '+kd.terms={mine:{loss:{}}}', '++kd.terms.mine.loss._target_=losses.Mine']
    """
    completed: list[str] = []
    for argument in arguments:
        if not (found := _NEW_TERM.match(argument)):
            completed.append(argument)
            continue
        term = f"+kd.terms={{{found[2]}:{{loss:{{}}}}}}"
        completed += [*([] if term in completed else [term]), f"++{found[1]}"]
    return completed


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """A command line as its flags, each with its value, and its overrides."""
    flags: list[str] = []
    overrides: list[str] = []
    arguments = iter(argv)
    for argument in arguments:
        if argument == "--info":  # its value may be left out, and an override may follow
            choice = next(arguments, "all")
            flags.append(f"--info={choice if choice in INFO else 'all'}")
            overrides += [] if choice in INFO else [choice]
        elif argument.startswith("-"):
            flags += [argument, *islice(arguments, 1 if argument in WITH_VALUE else 0)]
        else:
            overrides.append(argument)
    return flags, overrides


def config_dir(argv: Sequence[str]) -> str | None:
    """The value of ``--config-dir``."""
    for flag, value in pairwise([*split(argv)[0], ""]):
        if flag in ("--config-dir", "-cd"):
            return value
        if flag.startswith("--config-dir="):
            return home(flag.partition("=")[2])
    return None


def record(argv: Sequence[str]) -> dict[str, Any]:
    """What is needed to repeat a command: its overrides, and the folder of ``--config-dir``, as they were given."""
    overrides = [o for o in split(argv)[1] if not o.startswith((f"{RESUME}=", f"{RESUME_SWEEP}="))]
    return {"overrides": overrides, "config_dir": config_dir(argv)}


def resumed(argv: Sequence[str]) -> tuple[list[str], Path | None]:
    """The command that ``resume=`` or ``sweep.resume=`` stands for; any other one as it is, flags first.

    A folder may come from somebody else: recorded overrides that act on Hydra itself are refused, and a recorded
    ``--config-dir`` has to be given again.

    - ``resume=<folder or checkpoint>``: the recorded overrides before those of ``argv``, in the run's folder.
    - ``sweep.resume=<folder>``, or ``resume=<a sweep's folder>``: the recorded overrides before those of ``argv``
      (which win), as a multirun into the sweep's folder.

    Returns:
        The command, and the record that it was read from (None: no other command).

    Raises:
        UserError: there is no such run or sweep, or its record has what is not repeated unasked.
    """
    flags, overrides = split(argv)
    for key in (RESUME_SWEEP, RESUME):
        value = next((text(o) for o in overrides if o.startswith(f"{key}=")), None)
        if key == RESUME_SWEEP and value == "":
            raise UserError(f"{key}= names no folder")
        if not value or value == "null":
            continue
        path = Path(home(value))
        if not path.exists():
            raise UserError(f"{key}: {path} does not exist")
        if key == RESUME_SWEEP or (path / SWEEP).is_file():
            return _resumed_sweep(key, path, flags, [o for o in overrides if not o.startswith(f"{key}=")])
        folder = path if path.is_dir() else path.parent.parent
        if not (folder / RECORD).is_file():
            raise UserError(f"{key}: {path} belongs to no run (no {folder / RECORD})")
        return _repeat(folder / RECORD, flags, [*overrides, f"hydra.run.dir={quoted(folder)}"])
    return [*flags, *overrides], None  # Hydra's parser takes no override after a flag that follows one


def _resumed_sweep(key: str, folder: Path, flags: list[str], overrides: list[str]) -> tuple[list[str], Path]:
    if (folder / RECORD).is_file():
        raise UserError(f"{key}: {folder} is the folder of a single run, which {RESUME}= takes")
    if not (folder / SWEEP).is_file():
        raise UserError(f"{key}: {folder} is no sweep's folder (no {folder / SWEEP})")
    flags = flags if any(flag in MULTIRUN for flag in flags) else [*flags, "--multirun"]
    return _repeat(folder / SWEEP, flags, [*overrides, f"hydra.sweep.dir={quoted(folder)}"])


def continuing(key: str, folder: Path | str, overrides: Sequence[str], config_folder: str | None) -> list[str]:
    """The arguments that continue a run or a sweep of this process: ``resume=`` and what it has to be told again."""
    flags = ["--config-dir", config_folder] if config_folder else []
    return [*flags, f"{key}={hydra_value(str(folder))}", *trust.overrides_again(overrides)]


def read_yaml(file: Path) -> dict[str, Any]:
    """A YAML file that a run wrote, interpolations left as they are.

    Raises:
        UserError: it cannot be read, or has aliases, of which a few lines can stand for gigabytes; a run writes none.
    """
    try:
        text = checked.verified(file).decode()
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise ValueError("it has aliases")
        content: Any = OmegaConf.to_container(OmegaConf.create(text))
        return dict(content)
    except _UNREADABLE as error:
        raise UserError(f"{file} is not what a run wrote: {first_line(error)}") from error


def _repeat(file: Path, flags: list[str], overrides: list[str]) -> tuple[list[str], Path]:
    """The recorded command with ``overrides`` appended; these replace recorded ones of the same key."""
    recorded = read_yaml(file)
    folder, words = recorded.get("config_dir"), recorded.get("overrides")
    if not isinstance(words, list) or not isinstance(folder, str | None):
        raise UserError(f"{file} is not what a run wrote: it has no overrides and config_dir")
    if folder and not config_dir(flags):
        raise UserError(
            f"{file} names {folder} as the folder of its YAML files, which may be somebody else's; if they are yours, "
            f"add --config-dir {shell_word(str(folder))}"
        )
    replaced = {o.partition("=")[0] for o in overrides}
    words = [word for word in map(str, words) if word.partition("=")[0] not in replaced]
    for word in words:
        trust.check_override(word, file)
    return [*flags, *words, *overrides], file


def read_record(file: Path) -> dict[str, Any]:
    """The recorded command of a run or a sweep, see :func:`record`; a ``UserError`` for a file that was damaged."""
    try:
        recorded = checked.parse(file)
        words = [str(override) for override in recorded["overrides"]]
        return {**recorded, "overrides": words, "config_dir": recorded.get("config_dir")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else first_line(error)
        raise UserError(f"{file} is not what a run wrote: {reason}") from error


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
    return str(value) if _PLAIN.fullmatch(str(value)) else quoted(value)


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
