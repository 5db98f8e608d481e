"""How this process was started: for messages with a command to paste, and to start the training command again."""

import os
import shlex
import sys
from pathlib import Path

STARTED_AS = "DISTILL_STARTED_AS"  # in the environment: sys.argv[0] of the training command
INSTALLED = ("distill", "python -m distill")  # with a command's name behind it, sys.argv[0] of the installed commands


def invocation(command: str, *arguments: str) -> str:
    """A command line, in the form in which this process was started.

    Example:
        >>> invocation("train", "kd.T=4")  # not started by the installed command
        'python train.py kd.T=4'
    """
    program, _, _ = sys.argv[0].rpartition(" ")
    start = f"{program} {command}" if program in INSTALLED else f"python {command}.py"
    return " ".join([start, *map(shlex.quote, arguments)])


def this_command(*arguments: str) -> str:
    """The command line of this process with other arguments; a script by its name."""
    installed = sys.argv[0].rpartition(" ")[0] in INSTALLED
    start = sys.argv[0] if installed else shlex.join(["python", Path(sys.argv[0]).name])
    return " ".join([start, *map(shlex.quote, arguments)])


def remember() -> None:
    """Keeps how the training command was started, for processes that it starts."""
    os.environ[STARTED_AS] = sys.argv[0]


def restart() -> list[str]:
    """The training command without its arguments, for a new process."""
    script = os.environ.get(STARTED_AS, "")
    return [sys.executable, *([script] if script.endswith(".py") else ["-m", "distill", "train"])]
