"""One process at a time trains in a run's folder: a lock of the operating system, and ``status.json`` to say who."""

import errno
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypedDict, cast

from distill.utils.checked import parse
from distill.utils.errors import UserError, WriteError

LOCK, STATUS = ".lock", "status.json"
HEARTBEAT_TIMEOUT_S = 600.0  # a process on another machine without a heartbeat for so long counts as stopped
PATIENCE_S = 15.0  # for child processes of a killed one (data loader workers) to end and release the lock
GLANCE_S = 0.5  # for another process that only looks whether the lock is held
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)  # of a file system


class Status(TypedDict, total=False):
    """The contents of ``status.json``; of a pruned job its last epoch and score (``pruned.json``)."""

    host: str
    pid: int
    born: str | None  # see ``start_time``
    begun: float
    updated: float
    training: str  # what is trained
    epoch: int
    max_epochs: int | None
    val_score: float | None
    left_s: float | None  # until this training ends, as its process expects


class Busy(UserError):  # noqa: N818
    """Another process works in the folder."""


def start_time(pid: int) -> str | None:
    """When a process of this machine was started, in clock ticks of Linux; None: no such process, or no Linux."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def is_alive(status: Status) -> bool:
    """Whether the process that wrote a status still runs; of another machine's its heartbeat tells."""
    if status.get("host") != socket.gethostname():
        return bool(time.time() - status.get("updated", 0) < HEARTBEAT_TIMEOUT_S)
    try:
        os.kill(int(status["pid"]), 0)
    except PermissionError:
        return True
    except (OSError, KeyError, ValueError):
        return False
    return status.get("born") is None or start_time(int(status["pid"])) == status["born"]  # pids are reused


def acquire(path: Path, refusal: str, patience_s: float = PATIENCE_S) -> Any:
    """Locks a file, whose folder is made; the kernel releases the lock when this process ends, however it does.

    Returns:
        The lock, to be released; None where the file system has no locks.

    Raises:
        Busy: ``refusal``, where another process holds the lock.
        WriteError: the folder or the file cannot be made.
    """
    from filelock import FileLock, Timeout  # a tenth of what --help takes

    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=patience_s)
    except Timeout as error:
        raise Busy(refusal) from error
    except NotImplementedError:  # filelock's, for ENOSYS
        return None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise WriteError(path, error) from error
        return None
    return lock


def _live_status(folder: Path) -> Status | None:
    """The status of the process that is at work in a folder, as far as ``status.json`` tells."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        status = cast(Status, parse(folder / STATUS))
        launcher = os.getppid()  # of several processes the first one trains in its launcher's place
        if status.get("pid") not in (os.getpid(), launcher) and is_alive(status):
            return status
    return None


def _refusal(folder: Path, status: Status | None) -> str:
    who = f"process {status.get('pid')} on {status.get('host')}" if status else "another process"
    return f"{folder} is being trained by {who}: wait for it to end, or stop it first"


@contextmanager
def hold(folder: Path) -> Iterator[Callable[[], None]]:
    """Locks a run's folder for this process; yields a function that releases it before the block ends.

    The lock decides, not ``status.json``, which a killed process leaves; only where the file system has no locks.

    Raises:
        Busy: another process trains in the folder.
    """
    status = _live_status(folder)
    lock = acquire(folder / LOCK, _refusal(folder, status), GLANCE_S if status else PATIENCE_S)
    if lock is None and status is not None:
        raise Busy(_refusal(folder, status))
    release: Callable[[], None] = lock.release if lock is not None else lambda: None
    try:
        yield release
    finally:
        release()


def check_idle(folder: Path) -> None:
    """``Busy`` where another process trains in a run's folder."""
    status = _live_status(folder)
    with suppress(WriteError):  # a folder that is only read
        if (folder / LOCK).exists() and (lock := acquire(folder / LOCK, _refusal(folder, status), GLANCE_S)):
            lock.release()
            return
    if status is not None:
        raise Busy(_refusal(folder, status))
