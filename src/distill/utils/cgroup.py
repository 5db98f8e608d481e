"""The share of the CPUs that Linux's control groups give this process, as containers and batch systems set it."""

import math
from collections.abc import Iterator
from pathlib import Path

MOUNT, MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def cpu_quota(mount: Path | None = None, membership: Path | None = None) -> float | None:
    """CPU seconds per second that this process may use: the least of its group and those above; None: no limit.

    Args:
        mount: of the cgroup file systems; null: Linux's.
        membership: the file that names this process's groups, one ``hierarchy:controllers:path`` a line.
    """
    mount, membership = mount or MOUNT, membership or MEMBERSHIP
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # no Linux
        return None
    quotas = [math.inf]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # v2, below "unified" where v1 is mounted as well
            for folder in (*_upwards(mount, path), *_upwards(mount / "unified", path)):
                quotas.append(_ratio(_words(folder / "cpu.max")))
        elif "cpu" in controllers.split(","):
            for folder in (*_upwards(mount / controllers, path), *_upwards(mount / "cpu", path)):
                quotas.append(_ratio([*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us")]))
    return min(quotas) if min(quotas) < math.inf else None


def _upwards(root: Path, path: str) -> Iterator[Path]:
    """A group's folder and those above it; a container may see its own group as the root, by the host's path."""
    inner = Path(path.lstrip("/"))
    for part in (inner, *inner.parents):
        yield root / part


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


def _ratio(words: list[str]) -> float:
    """Quota and period in microseconds; a quota of "max" or -1 is no limit."""
    if len(words) != 2 or not all(map(str.isdigit, words)) or words[1] == "0":
        return math.inf
    return int(words[0]) / int(words[1])
