"""What other processes do meanwhile, from Linux's ``/proc``."""

import os
import time
from pathlib import Path

from benchmarks.memory import children

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")


def busy() -> float:
    """Seconds that all cores have worked since the machine started, for whom ever, stolen ones included."""
    user, nice, system, _idle, _waiting, *rest = (PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]
    return sum(map(int, (user, nice, system, *rest))) / TICKS


def used(pid: int) -> float:
    """Processor seconds of a process and all below it, those that have ended included."""
    total = 0
    for each in (pid, *children(pid)):
        try:
            after_name = (PROC / str(each) / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended since
            continue
        total += sum(map(int, after_name[11:15]))  # utime, stime, and those of children that were waited for
    return total / TICKS


class Foreign:
    """Measures which share of the machine's cores processes other than this one and those below it use."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Starts anew."""
        self._begun, self._busy, self._used = time.perf_counter(), busy(), used(os.getpid())

    def share(self) -> float:
        """The mean share since the beginning, from 0 to 1."""
        seconds = (time.perf_counter() - self._begun) * (os.cpu_count() or 1)
        return min(1.0, max(0.0, (busy() - self._busy) - (used(os.getpid()) - self._used)) / seconds)
