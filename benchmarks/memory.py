"""Memory of processes, from Linux's ``/proc``."""

import os
import re
from pathlib import Path

PROC = Path("/proc")


def _kilobytes(path: Path, keys: str) -> int:
    """The sum of the lines whose key matches, in bytes; 0 where there is no such process (any more)."""
    try:
        found = re.findall(rf"^(?:{keys}):\s+(\d+) kB", path.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return 1024 * sum(map(int, found))


def peak(pid: int | None = None) -> int:
    """The most memory that a process ever held (its resident set), in bytes."""
    return _kilobytes(PROC / str(pid or os.getpid()) / "status", "VmHWM")


def children(pid: int) -> list[int]:
    """All processes below one."""
    found: list[int] = []
    for task in (PROC / str(pid) / "task").glob("*/children"):
        try:
            direct = [int(child) for child in task.read_text().split()]
        except OSError:
            continue
        for child in direct:
            found += [child, *children(child)]
    return found


def tree(pid: int) -> int:
    """What a process and all below it hold now, in bytes: its resident set, and of the others what is theirs alone."""
    others = (_kilobytes(PROC / str(child) / "smaps_rollup", "Private_Clean|Private_Dirty") for child in children(pid))
    return _kilobytes(PROC / str(pid) / "status", "VmRSS") + sum(others)
