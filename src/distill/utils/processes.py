"""This process: the job of several processes that it belongs to, its CPU cores. Torch is not needed here."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from distill.utils.cgroup import cpu_quota
from distill.utils.errors import UserError

T = TypeVar("T")
R = TypeVar("R")
MOST_DEVICES = 1024  # of one machine
OURS = "DISTILL_RANKS"  # in the environment of the processes that distill.utils.launcher starts


def count(devices: Any) -> int:
    """How many processes ``trainer.devices`` asks for on this machine: a number, or a list of device numbers."""
    if isinstance(devices, str) and devices.isdigit():
        devices = int(devices)
    if isinstance(devices, list) and devices and all(type(i) is int and i >= 0 for i in devices):
        return len(devices)
    if devices == "auto":
        return 1
    if type(devices) is not int or devices < 1:
        raise UserError(f"trainer.devices must be a number from 1, or a list of device numbers, got {devices!r}")
    if devices > MOST_DEVICES:
        raise UserError(f"trainer.devices must be at most {MOST_DEVICES}, those of one machine, got {devices}")
    return devices


def inside() -> bool:
    """Whether this process is one of several: started by ``distill.utils.launcher``, or by torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_rank_zero() -> bool:
    """Whether this process is the one of them that writes and prints; a process alone is."""
    return int(os.environ.get("RANK", "0")) == 0


def usable_cores() -> int:
    """Number of CPU cores that this process can keep busy: those it may run on, and no more than its cgroup's quota.

    A quota is rounded down, but to 1: threads that wait for one another all wait for the one that is held back.
    """
    quota = cpu_quota()
    return allowed_cores() if quota is None else max(1, min(allowed_cores(), int(quota)))


def allowed_cores() -> int:
    """Number of CPU cores that this process may run on (its affinity mask, where the system has one)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def busy_cores(samples: int = 11, interval_s: float = 0.005) -> int:
    """Threads of other processes that run, or wait for a core: the median of some looks at Linux's count.

    It covers the whole machine; 0 on other systems.
    """
    try:
        counts = []
        for _ in range(samples):
            time.sleep(interval_s)
            words = Path("/proc/stat").read_text().split()
            counts.append(int(words[words.index("procs_running") + 1]) - 1)  # without this one
    except (OSError, ValueError):
        return 0
    return sorted(counts)[len(counts) // 2]


def map_in_threads(function: Callable[[T], R], items: Sequence[T], at_a_time: int = 256) -> list[R]:
    """``function`` of each item, by threads; the first error that it raises ends it.

    Args:
        function: of one item.
        items: any number.
        at_a_time: items that a thread takes together: a future for each of a million would fill the memory.
    """
    pool = ThreadPoolExecutor()
    try:
        chunks = [items[i : i + at_a_time] for i in range(0, len(items), at_a_time)]
        return list(chain.from_iterable(pool.map(lambda chunk: list(map(function, chunk)), chunks)))
    finally:
        pool.shutdown(cancel_futures=True)


def set_up_launched() -> None:
    """Prepares a process that ``distill.utils.launcher`` started: Linux ends it when the one that started it dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        del os.environ[name]  # Lightning would take the one task of a Slurm job for all its processes
