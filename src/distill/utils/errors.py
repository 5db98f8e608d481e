"""The errors a user can cause: one line with the problem, the value and the allowed values."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Bad input. Its message is one line, printed without a traceback; the process then exits with status 1."""


class Interrupted(BaseException):
    """Raised at the end of a step after Ctrl-C or SIGTERM, once the checkpoint is written."""

    def __init__(self, epoch: int, step: int) -> None:
        super().__init__(f"stopped in epoch {epoch + 1} after step {step}")


class Pruned(Exception):  # noqa: N818
    """Raised after an epoch that the pruner of a search stops a trial at."""

    def __init__(self, epoch: int, accuracy: float) -> None:
        super().__init__(f"pruned after epoch {epoch} at {100 * accuracy:.2f} % on validation")
        self.epoch = epoch
        self.accuracy = accuracy


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def nearest(name: str, allowed: Iterable[str], shown: int = 8) -> str:
    """The end of an error line: the allowed names nearest to ``name``, or all of them where few.

    Example:
        >>> nearest("resnt8", ["resnet8", "vgg8"])
        "did you mean 'resnet8'? Allowed: resnet8, vgg8"
    """
    names = [str(option) for option in allowed]
    close = get_close_matches(str(name), names, n=3, cutoff=0.6)
    listed = names if len(names) <= shown else (close or [*names[:shown], f"... ({len(names)} in all)"])
    hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    return f"{hint}Allowed: {', '.join(listed)}" if listed else f"{hint}Allowed: none"
