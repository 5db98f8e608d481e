"""Arguments that a call refused, and what it takes instead."""

import inspect
import re
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from distill.utils.errors import nearest

_REFUSED = re.compile(r"([\w.<>]+)\(\) got an unexpected keyword argument '(\w+)'")


def names(target: Callable[..., Any]) -> tuple[list[str], bool]:
    """The keyword arguments that a class or function names, and whether it takes others (``**kwargs``).

    Raises:
        ValueError, TypeError: a builtin without a signature; nothing that can be called.
    """
    parameters = inspect.signature(target).parameters.values()
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.kind not in kinds], any(p.kind == kinds[1] for p in parameters)


def refusal(error: BaseException) -> str | None:
    """What a call refused that lies below the one that the user configured, as behind ``**kwargs``.

    Returns:
        The argument, and the nearest ones of what was called where that can be told; None: another error.

    Example:
        >>> def build(width=8): ...
        >>> try:
        ...     build(**{"widht": 4})
        ... except TypeError as error:
        ...     print(refusal(error))
        takes no 'widht'; did you mean 'width'?
    """
    match = _REFUSED.search(str(error)) if isinstance(error, TypeError) else None
    if match is None:
        return None
    called, argument = match.groups()
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    for candidate in _objects(trace.tb_frame) if trace is not None else ():
        name = getattr(candidate, "__qualname__", None)
        if isinstance(name, str) and called in (name, f"{name}.__init__"):
            return f"takes no '{argument}'; {nearest(argument, names(candidate)[0])}"
    return f"takes no '{argument}'"


def _objects(frame: FrameType) -> Iterator[Any]:
    """What a frame can call by a name, and the classes of its ``self``."""
    yield from frame.f_locals.values()
    yield from type(frame.f_locals.get("self")).__mro__
    yield from frame.f_globals.values()
