"""How this process was started: for messages with a command to paste, and to start the training command again."""

import os
import shlex
import sys
from pathlib import Path

STARTED_AS = "DISTILL_STARTED_AS"  # in the environment: sys.argv[0] of the training command
SCRIPTS = tuple(f"{name}.py" for name in ("train", "evaluate", "compare", "report", "export", "predict"))
INSTALLED = ("distill", "python -m distill")  # with a command's name behind it, sys.argv[0] of the installed commands


def shell_word(text: str) -> str:
    r"""A word of a shell's command line, on one line; what cannot be printed is escaped as bash and zsh read it.

    Example:
        >>> print(shell_word("run [x]"), shell_word("two\nlines"))
        'run [x]' $'two\nlines'
    """
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(map(_escaped, text)) + "'"


def _escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    if character == "\n":
        return "\\n"
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def invocation(command: str, *arguments: str) -> str:
    """A command line, in the form in which this process was started.

    Example:
        >>> invocation("train", "kd.T=4")  # not started by the installed command
        'python train.py kd.T=4'
    """
    program, _, _ = sys.argv[0].rpartition(" ")
    script = Path(sys.argv[0])
    folder = script.parent if script.name in SCRIPTS else Path()
    start = f"{program} {command}" if program in INSTALLED else shlex.join(["python", str(folder / f"{command}.py")])
    return " ".join([start, *map(shell_word, arguments)])


def this_command(*arguments: str) -> str:
    """The command line of this process with other arguments; a script by its path, a package by ``-m``."""
    script = Path(sys.argv[0])
    start = shlex.join(["python", str(script)])
    if sys.argv[0].rpartition(" ")[0] in INSTALLED:
        start = sys.argv[0]
    elif script.name == "__main__.py":
        start = f"python -m {script.parent.name}"
    return " ".join([start, *map(shell_word, arguments)])


def remember() -> None:
    """Keeps how the training command was started, for processes that it starts."""
    os.environ[STARTED_AS] = sys.argv[0]


def restart() -> list[str]:
    """The training command without its arguments, for a new process."""
    script = os.environ.get(STARTED_AS, "")
    return [sys.executable, *([script] if script.endswith(".py") else ["-m", "distill", "train"])]
