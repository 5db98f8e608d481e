"""Every change of a folder by Python code, one after the other: each can be noted, fail, or be a process's last."""

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGED = {"open": 0, "os.rename": 1, "os.mkdir": 0, "os.remove": 0, "os.rmdir": 0}  # the argument that is the path
DELETING = ("os.remove", "os.rmdir")
Happens = Callable[[int, str, Path, tuple[Any, ...]], None]


def watch(happens: Happens, deletes: bool) -> Callable[[], None]:
    """Calls ``happens(number, event, path, arguments)`` before each change below the current folder, from 1 on.

    Args:
        happens: takes the arguments of Python's audit event; what it raises is what the changing call raises.
        deletes: count deletions, too.
    """

    def install() -> None:
        folder, number = Path.cwd(), 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal number
            if event not in CHANGED or (event in DELETING and not deletes):
                return
            given = arguments[CHANGED[event]]
            if isinstance(given, int) or (event == "open" and not arguments[2] & WRITING):
                return
            path = Path(os.path.abspath(os.fsdecode(given)))  # noqa: PTH100 (links stay)
            if path.is_relative_to(folder) and path != folder:
                number += 1
                happens(number, event.removeprefix("os."), path, arguments)

        sys.addaudithook(hook)

    return install


def noting(record: Path, deletes: bool) -> Callable[[], None]:
    """Writes a line for each change into a file elsewhere: what is done, and the name."""
    record.write_text("")

    def happens(_: int, event: str, path: Path, __: object) -> None:
        with record.open("a") as file:
            file.write(f"{event} {path.name}\n")

    return watch(happens, deletes)


def failing(at: int, code: int) -> Callable[[], None]:
    """Lets the change of this number fail; with another error than ``EIO`` all later ones, too, as on a full disk.

    A file that was to be renamed is cut in half first, as by a disk that became full while it was written.
    """

    def happens(number: int, event: str, path: Path, arguments: tuple[Any, ...]) -> None:
        if number == at or (number > at and code != errno.EIO):
            if event == "rename" and os.path.isfile(arguments[0]):  # noqa: PTH113
                os.truncate(arguments[0], os.path.getsize(arguments[0]) // 2)  # noqa: PTH202
            raise OSError(code, os.strerror(code), str(path))

    return watch(happens, deletes=False)


def killing(at: int) -> Callable[[], None]:
    """Kills (-9) the process, with its group, before the change of this number."""

    def happens(number: int, *_: object) -> None:
        if number == at:
            os.killpg(0, signal.SIGKILL)

    return watch(happens, deletes=True)
