"""Shell completion: Hydra's script and Hydra's answers for a training; commands, keys and files for the others."""

import dataclasses
import os
import re
from collections.abc import Iterable, Iterator
from glob import escape, glob

FLAGS = ("-sc", "--shell-completion")  # Hydra's: with install=<shell>, uninstall=<shell> or query=<shell>
LINE = "COMP_LINE"  # in the environment: the line so far


def is_query(arguments: list[str]) -> bool:
    """Whether a shell asks what may follow."""
    return len(arguments) == 2 and arguments[0] in FLAGS and arguments[1].startswith("query=")


def last_word() -> str:
    """The word that is being typed; empty behind a blank."""
    line = os.environ.get(LINE, "")
    return "" if not line or line[-1].isspace() else line.split()[-1]


def keys(options: type) -> Iterator[str]:
    """What may follow of a command's keys, or of files behind ``key=``."""
    word = last_word()
    key, equals, start = word.partition("=")
    if equals:
        found = (path + os.sep * os.path.isdir(path) for path in sorted(glob(f"{escape(start)}*")))  # noqa: PTH207, PTH112
        yield from (f"{key}={path}" for path in found)
    else:
        names = (f"{field.name}=" for field in dataclasses.fields(options))
        yield from (name for name in names if name.startswith(word))


def command_of_line(commands: Iterable[str]) -> str | None:
    """The command of a line ``distill <command> ...``; None: it is still being typed, or is none."""
    words = os.environ.get(LINE, "").split()
    typed = len(words) == 2 and bool(last_word())
    return words[1] if len(words) > 1 and not typed and words[1] in commands else None


def without_command(command: str) -> None:
    """The line as if the command were a program, for Hydra."""
    os.environ[LINE] = re.sub(rf"^(\s*\S+\s+){re.escape(command)}\s*", r"\1", os.environ[LINE])
