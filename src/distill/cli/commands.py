"""What the fronts of all commands share: one-line errors, exit statuses, Ctrl-C. Nothing heavy is imported here."""

import codecs
import errno
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, TypeVar

from distill.cli import completion
from distill.utils import processes
from distill.utils.errors import STORAGE, UserError, shortened
from distill.utils.invocation import this_command
from distill.utils.logging import setup_logging

T = TypeVar("T")
HELP = ("--help", "-h", "help")
TRACEBACK = "DISTILL_TRACEBACK"  # in the environment: errors of users have tracebacks


def wants_traceback() -> bool:
    """Whether errors are to be shown with tracebacks."""
    return os.environ.get(TRACEBACK, "0") not in ("0", "")


def fail(message: str, status: int = 1) -> NoReturn:
    """Ends the process with one line on stderr and an exit status; that of Ctrl-C (130) is no error."""
    if processes.is_rank_zero() or "torch" in sys.modules:  # before that, all processes of a job find the same error
        line = re.sub(r"\s*[\r\n]+\s*", " ", shortened(message.strip()))  # spaces in a path stay as they are
        print(line if status == 130 else f"error: {line}", file=sys.stderr, flush=True)
    raise SystemExit(status)


def show(text: str) -> None:
    """Prints a help; a reader that goes before its end (``| head``) has seen what it wanted."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to be flushed


def _printable(error: UnicodeError) -> tuple[str | bytes, int]:
    """What a terminal's encoding lacks: bytes of a file name as they are, other characters as ``?``."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeEncodeError:
        return codecs.replace_errors(error)


codecs.register_error("distill", _printable)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """A user's mistake ends the process with one line and status 1, Ctrl-C with status 130.

    File names that are not valid UTF-8 are printed with their original bytes, what the terminal cannot show as ``?``.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="distill")
    try:
        yield
    except UserError as error:
        if wants_traceback():
            raise
        fail(str(error))
    except BrokenPipeError:  # the reader of our output has gone, as ``| head`` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to be flushed
        raise SystemExit(1) from None
    except OSError as error:
        if error.errno not in (*STORAGE, errno.ENAMETOOLONG) or wants_traceback():
            raise
        fail(f"{error.filename or 'a file'} cannot be read or written: {error.strerror}")
    except KeyboardInterrupt:
        fail("interrupted", status=130)


def launch(options: type[T], main: Callable[[T], int | None], about: str, rest: str | None = None) -> NoReturn:
    """Parses the command line, runs ``main`` and ends the process.

    Args:
        options: the dataclass of its keys, see :func:`distill.config.options.parse`.
        main: takes them; its result is the exit status (None: 0).
        about: what the command does, for ``--help``; ``{command}`` stands for how it is called.
        rest: see :func:`distill.config.options.parse`.
    """
    from distill.config.options import parse, usage  # OmegaConf, most of what distill --help would take

    arguments, command = sys.argv[1:], this_command()
    setup_logging()
    with one_line_errors():
        if completion.is_query(arguments):
            show(" ".join(completion.keys(options)))
            raise SystemExit(0)
        if any(argument in HELP for argument in arguments):
            show(usage(options, command, about.replace("{command}", command)))
            raise SystemExit(0)
        raise SystemExit(main(parse(options, arguments, rest)) or 0)
