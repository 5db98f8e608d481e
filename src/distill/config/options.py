"""Options of the small commands (``python evaluate.py run=<folder>``): dataclasses filled from key=value arguments."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

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
    for argument in argv:
        key, equals, value = argument.partition("=")
        if equals and key in fields:
            if key in values:
                raise UserError(f"{key} is given twice")
            values[key] = OmegaConf.from_dotlist([f"{key}={value}"])[key]
        elif rest is not None and (not equals or os.path.exists(argument)):  # noqa: PTH110
            others.append(argument)
        elif equals:
            raise UserError(f"there is no key '{key}'; {nearest(key, fields, shown=30)}")
        else:
            raise UserError(f"'{argument}' is no key=value; keys: {', '.join(fields)}")
    if others:
        assert rest is not None
        values[rest] = [*(values.get(rest) or []), *others]
    for name, field in fields.items():
        missing = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if missing and values.get(name) is None:
            raise UserError(f"{name}=... is missing: {field.metadata['help']}")
    node = OmegaConf.structured(options)
    for key, value in values.items():
        try:
            OmegaConf.update(node, key, value)
        except OmegaConfBaseException as error:
            raise UserError(f"{key}={value}: {first_line(error)}") from error
    made: Any = OmegaConf.to_object(node)
    return made  # type: ignore[no-any-return]


def usage(options: type[Any], command: str, about: str) -> str:
    """The text of ``--help``.

    Args:
        options: the dataclass of the command's keys.
        command: how the command is called, as ``python evaluate.py``.
        about: what it does.
    """
    lines = [f"usage: {command} key=value ...", "", about.strip(), "", "keys:"]
    for field in dataclasses.fields(options):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        end = "required" if default is dataclasses.MISSING else f"default: {'null' if default is None else default}"
        lines.append(f"  {field.name:<14} {field.metadata['help']} ({end})")
    return "\n".join(lines)
