"""The errors a user can cause: one line with the problem, the value and the allowed values."""

import errno
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import yaml

STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.ESTALE)  # of a disk, not of a program


class UserError(Exception):
    """Bad input. Its message is one line, printed without a traceback; the process then exits with status 1."""


class WriteError(UserError, OSError):
    """A file that the system refuses to write: a full disk or quota, a read-only or failing one, missing rights."""

    def __init__(self, path: object, error: OSError) -> None:
        super().__init__(f"{path} cannot be written: {error.strerror or error}")


class Interrupted(BaseException):
    """A run was stopped by Ctrl-C or SIGTERM, and its folder holds what it needs to continue; says where it was."""


class Pruned(Exception):  # noqa: N818
    """Raised after an epoch that the pruner of a search stops a trial at; ``shown`` is the score as tables have it."""

    def __init__(self, epoch: int, score: float, shown: str) -> None:
        super().__init__(f"pruned after epoch {epoch} at {shown} on validation")
        self.epoch = epoch
        self.score = score


def first_line(error: BaseException) -> str:
    """The first line of an error's message, with its type where that says little.

    Example:
        >>> first_line(KeyError("label")), first_line(StopIteration()), first_line(ValueError("no such T"))
        ("KeyError: 'label'", 'StopIteration', 'no such T')
    """
    text = _yaml_problem(error) if isinstance(error, yaml.MarkedYAMLError) else str(error)
    text = re.sub(
        r"^\w+ (raised )?while resolving interpolation: ", "", text
    )  # OmegaConf's; what follows is the reason
    return _telling(error, (text.strip().splitlines() or [""])[0])


def _yaml_problem(error: yaml.MarkedYAMLError) -> str:
    """What PyYAML says in several lines: the file, the place, what it read and what is wrong with it."""
    mark = error.problem_mark or error.context_mark
    named = mark is not None and not mark.name.startswith("<")
    where = f"{f'{mark.name}, ' if named else ''}line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return where + ", ".join(part for part in (error.context, error.problem) if part)


def _telling(error: BaseException, text: str) -> str:
    if type(error) is KeyError or not any(map(str.isalpha, text)):  # a key, a number, nothing
        return f"{type(error).__name__}: {text}".removesuffix(": ")
    return text


def require_package(package: str, feature: str, name: str, extra: str, load: bool = True) -> None:
    """A UserError unless a package of one of distill's extras is installed, and (``load``) can be imported."""
    reason = ""
    if find_spec(package) is not None:
        if not load:
            return
        try:
            import_module(package)
            return
        except ImportError as error:
            reason = f" (it is installed, but: {first_line(error)})"
    raise UserError(f"{feature} needs {name}: pip install 'distill[{extra}]'{reason}")


def shortened(text: str, most: int = 1990) -> str:
    """A text of at most so many characters: what is more is left out of its middle.

    Example:
        >>> shortened("abcdefgh", 6)
        'abc…gh'
    """
    return text if len(text) <= most else f"{text[: most // 2]}…{text[len(text) - (most - most // 2 - 1) :]}"


def check_choice(key: str, value: object, allowed: Iterable[str], shown: int = 8) -> None:
    """A UserError unless ``value``, as text, is one of the allowed names."""
    names = list(allowed)
    if str(value) not in names:
        raise UserError(f"{key}={value} is unknown; {nearest(str(value), names, shown)}")


def one_line(error: BaseException) -> str:
    """An error's message in one line, or its type where it has none; the system's without its number and path."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    return _telling(error, " ".join(str(error).split()))


@contextmanager
def names_the_system_takes() -> Iterator[None]:
    """A file's name that is too long is a ``UserError``."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise UserError(f"{error.filename}: {one_line(error)}") from error


def check_range(
    key: str, value: object, low: float, high: float = math.inf, open_low: bool = False, reason: str = ""
) -> None:
    """A UserError unless ``value``, a number or None, lies between the bounds."""
    if value is None:
        return
    at_most = "" if high == math.inf else f" and at most {high:g}"
    bounds = f"above {low:g}{at_most}" if open_low else f"in [{low:g}, {high:g}]" if at_most else f"at least {low:g}"
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise UserError(f"{key} must be a number {bounds}, got {value!r}")
    if not (low < value if open_low else low <= value) or not value <= high or not math.isfinite(value):
        raise UserError(f"{key} must be {bounds}{reason}, got {value}")


def unknown_option(group: str, name: str, options: Iterable[str]) -> str:
    """The message for a name that is no option of a config group."""
    return f"{group} has no option '{name}'; {nearest(name, options, shown=40)}"


def nearest(name: str, allowed: Iterable[str], shown: int = 8) -> str:
    """The end of an error line: the allowed names nearest to ``name``, and all of them where few.

    Example:
        >>> nearest("resnt8", ["resnet8", "vgg8"])
        "did you mean 'resnet8'? Allowed: resnet8, vgg8"
        >>> nearest("resnt8", ["resnet8"])
        "did you mean 'resnet8'?"
    """
    names = [str(option) for option in allowed]
    close = get_close_matches(str(name), names, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else ""
    if close and (len(names) > shown or len(close) == len(names)):
        return hint  # all of them are too many to list, or listed already
    listed = names if len(names) <= shown else [*names[:shown], f"... ({len(names)} in all)"]
    return f"{hint} Allowed: {', '.join(listed) or 'none'}".lstrip()


def nearest_files(path: Path) -> str:
    """The end of an error line: the names like that of a path that does not exist, in its folder."""
    names = get_close_matches(path.name, [p.name for p in path.parent.iterdir()]) if path.parent.is_dir() else []
    return f"; did you mean {' or '.join(map(repr, names))}?" if names else ""
