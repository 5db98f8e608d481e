"""Messages through ``logging``: those of a run on stdout, warnings and errors on stderr, of the first process only."""

import logging
import sys

from distill.utils.processes import is_rank_zero

LEVELS = ("debug", "info", "warning", "error")


class _Console(logging.Handler):
    """Prints messages without timestamps; looks streams up when it prints, as notebooks and tests replace them."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message; a warning or an error begins with its level."""
        serious = record.levelno >= logging.WARNING
        prefix = f"{record.levelname.lower()}: " if serious else ""
        print(f"{prefix}{record.getMessage()}", file=sys.stderr if serious else sys.stdout, flush=True)


def _of_rank_zero(_: logging.LogRecord) -> bool:
    return is_rank_zero()


def setup_logging(level: str = "info") -> None:
    """Shows the messages of this package on the terminal, as its commands do; may be called again.

    A script that only imports the package sets up ``logging.getLogger("distill")`` as it likes.

    Args:
        level: one of ``LEVELS``; what is below it is not shown.
    """
    logger = logging.getLogger("distill")
    handler = _Console()
    handler.addFilter(_of_rank_zero)
    logger.handlers = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False  # Hydra's root logger would print everything once more
