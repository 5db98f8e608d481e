"""Messages through ``logging``: those of a run on stdout, warnings and errors on stderr, of the first process only."""

import logging
import sys
from contextlib import nullcontext
from typing import Any

from distill.utils.processes import is_rank_zero

LEVELS = ("debug", "info", "warning", "error")


class _Console(logging.Handler):
    """Prints messages without timestamps; looks streams up when it prints, as notebooks and tests replace them."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message, in the first process only; a warning or an error begins with its level."""
        if not is_rank_zero():
            return
        serious = record.levelno >= logging.WARNING
        prefix = f"{record.levelname.lower()}: " if serious else ""
        stream = sys.stderr if serious else sys.stdout
        tqdm: Any = sys.modules.get("tqdm")  # not imported only for this
        with tqdm.tqdm.external_write_mode(file=stream) if tqdm else nullcontext():  # a progress bar steps aside
            print(f"{prefix}{record.getMessage()}", file=stream, flush=True)


def setup_logging(level: str = "info") -> None:
    """Shows the messages of this package on the terminal, as its commands do; may be called again.

    A script that only imports the package sets up ``logging.getLogger("distill")`` as it likes.

    Args:
        level: one of ``LEVELS``; what is below it is not shown.
    """
    logger = logging.getLogger("distill")
    logger.handlers = [_Console()]
    logger.setLevel(level.upper())
    logger.propagate = False  # Hydra's root logger would print everything once more
