"""What the fronts of all commands share: one-line errors, exit statuses, Ctrl-C. Nothing heavy is imported here."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, TypeVar

from distill.config.options import parse, usage
from distill.utils import processes
from distill.utils.errors import UserError
from distill.utils.logging import setup_logging

T = TypeVar("T")
HELP = ("--help", "-h", "help")
TRACEBACK = "DISTILL_TRACEBACK"  # in the environment: errors of users have tracebacks


def wants_traceback() -> bool:
    """Whether errors are to be shown with tracebacks."""
    return os.environ.get(TRACEBACK, "0") not in ("0", "")


def fail(message: str, status: int = 1) -> NoReturn:
    """Ends the process with one line on stderr and an exit status."""
    if processes.is_rank_zero() or "torch" in sys.modules:  # before that, all processes of a job find the same error
        print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    raise SystemExit(status)


def broken_pipe() -> int:
    """The exit status after the reader of our output has gone, as ``| head`` does; nothing is left to be flushed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


@contextmanager
def one_line_errors() -> Iterator[None]:
    """A user's mistake ends the process with one line and status 1, Ctrl-C with status 130."""
    try:
        yield
    except UserError as error:
        if wants_traceback():
            raise
        fail(str(error))
    except BrokenPipeError:
        raise SystemExit(broken_pipe()) from None
    except KeyboardInterrupt:
        fail("interrupted", status=130)


def launch(
    options: type[T], main: Callable[[T], int | None], about: str, command: str, rest: str | None = None
) -> NoReturn:
    """Parses the command line, runs ``main`` and ends the process.

    Args:
        options: the dataclass of its keys, see :func:`distill.config.options.parse`.
        main: takes them; its result is the exit status (None: 0).
        about: what the command does, for ``--help``; ``{command}`` stands for how it is called.
        command: how it is called, as ``python evaluate.py``.
        rest: see :func:`distill.config.options.parse`.
    """
    arguments = sys.argv[1:]
    setup_logging()
    with one_line_errors():
        if any(argument in HELP for argument in arguments):
            print(usage(options, command, about.replace("{command}", command)), flush=True)
            raise SystemExit(0)
        raise SystemExit(main(parse(options, arguments, rest)) or 0)
