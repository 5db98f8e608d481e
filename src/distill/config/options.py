"""Options of the small commands (``python evaluate.py run=<folder>``): dataclasses filled from key=value arguments.

``--config-dir <folder>`` and ``--overwrite`` are read as ``config_dir=<folder>`` and ``overwrite=true``.
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, TypeVar, cast, get_origin

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from distill.config.paths import home, literal
from distill.utils.errors import UserError, first_line, nearest

T = TypeVar("T")


def arg(help: str, default: Any = dataclasses.MISSING) -> Any:
    """A field of a command's options.

    Args:
        help: its line in ``--help``.
        default: its value when it is not given; without one it must be given.
    """
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata={"help": help})
    return dataclasses.field(default=default, metadata={"help": help})


def parse(options: type[T], argv: Sequence[str], rest: str | None = None) -> T:
    """Command-line arguments ``key=value`` as an instance of a dataclass, with OmegaConf's conversions and checks.

    Args:
        options: a dataclass whose fields are made with :func:`arg`.
        argv: the arguments.
        rest: the field (a list of str) that takes what is no ``key=value`` of a known key; None: refused.

    Raises:
        UserError: an unknown key, a value of another type, a key that is missing.
    """
    fields = {field.name: field for field in dataclasses.fields(options)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    others: list[str] = []
    arguments = iter(argv)
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if key.startswith("--") and (name := key[2:].replace("-", "_")) in fields:
            value = value if equals else "true" if fields[name].type is bool else next(arguments, "")
            key, equals = name, "="
        if equals and key in fields:
            if key in values:
                raise UserError(f"{key} is given twice")
            values[key] = _text(value) if fields[key].type in (str, str | None) else None
            if values[key] is None:
                values[key] = _read(key, value)
            if get_origin(fields[key].type) is list and values[key] is not None and not OmegaConf.is_list(values[key]):
                values[key] = [literal(home(value))]  # inputs=photos is a list of one
        elif rest is not None and (not equals or os.path.exists(argument)):  # noqa: PTH110
            others.append(literal(home(argument)))
        elif equals:
            raise UserError(f"there is no key '{key}'; {nearest(key, fields, shown=30)}")
        else:
            raise UserError(f"'{argument}' is no key=value; keys: {', '.join(fields)}")
    if others:
        assert rest is not None
        values[rest] = [*(values.get(rest) or []), *others]
    node = OmegaConf.structured(options)
    for name, field in fields.items():
        if OmegaConf.is_missing(node, name) and values.get(name) is None:
            raise UserError(f"{name}=... is missing: {field.metadata['help']}")
    for key, value in values.items():
        try:
            OmegaConf.update(node, key, value)
        except OmegaConfBaseException as error:
            raise UserError(f"{key}={value}: {first_line(error)}") from error
    return cast(T, OmegaConf.to_object(node))


def _read(key: str, value: str) -> Any:
    """A value in YAML, as ``null``, ``[a,b]`` and quoted texts.

    Raises:
        UserError: it is none.
    """
    try:
        return OmegaConf.from_dotlist([f"{key}={value}"])[key]
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"cannot read {key}={value}: {first_line(error)}") from error


def _text(value: str) -> str | None:
    """A text as it is written, as ``2026`` and ``[x]``; None: it is to be read as YAML (``null``, quoted texts)."""
    return None if value in ("", "null") or value[0] in "'\"" else literal(home(value))


def usage(options: type[Any], command: str, about: str) -> str:
    """The text of ``--help``; ``command`` is how the command is called, as ``python evaluate.py``."""
    lines = [f"usage: {command} key=value ...", "", about.strip(), "", "keys:"]
    for field in dataclasses.fields(options):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        end = "required" if default is dataclasses.MISSING else f"default: {'null' if default is None else default}"
        lines.append(f"  {field.name:<14} {field.metadata['help']} ({end})")
    return "\n".join(lines)
