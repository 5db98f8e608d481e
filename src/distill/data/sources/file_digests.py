"""Digests of files' content, remembered: a file is read again only where its size, times or inode are others."""

import hashlib
import math
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from distill.utils.atomic import atomic_path
from distill.utils.files import open_file
from distill.utils.processes import map_in_threads

_REMEMBERED_FROM = 32_000_000  # bytes of content; less is read in no time
_RACY_NS = 3_000_000_000  # a file changed within it may change again without another time: some clocks tick in 2 s
_SIZE = 32  # bytes of a digest
_UNREADABLE = bytes(_SIZE)


def content_digests(paths: Sequence[str], root: Path) -> list[bytes]:
    """The SHA-256 of each file, zeros for one that cannot be read.

    They are remembered in ``$XDG_CACHE_HOME/distill`` (``~/.cache/distill``), a file per ``root``, by each path's
    size, inode, and times of change in nanoseconds: copying, replacing or editing a file changes one of them, even
    where its name, size and modification time are kept. Where nothing can be written there, all is read each time.

    Args:
        paths: the files.
        root: the folder they belong to.
    """
    stats = [_stat(path) for path in paths]
    keys = [_key(os.path.abspath(path), stat) for path, stat in zip(paths, stats, strict=True)]  # noqa: PTH100 - faster
    remembers = sum(stat.st_size for stat in stats if stat is not None) >= _REMEMBERED_FROM
    memory = _memory(root)
    known = _load(memory) if remembers else {}
    missing = [i for i, key in enumerate(keys) if key not in known]
    computed = dict(zip(missing, map_in_threads(lambda i: _digest(paths[i]), missing), strict=True))
    digests = [computed[i] if i in computed else known[key] for i, key in enumerate(keys)]
    if remembers and missing:
        settled = time.time_ns() - _RACY_NS
        new = {keys[i]: digest for i, digest in computed.items() if _changed(stats[i]) < settled}
        with suppress(OSError):
            _save(memory, new if len(known) > 4 * len(keys) else known | new)  # else mostly of files that are gone
    return digests


def _changed(stat: os.stat_result | None) -> float:
    """When a file changed last, in nanoseconds; of one that cannot be read: never settled."""
    return math.inf if stat is None else max(stat.st_mtime_ns, stat.st_ctime_ns)


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116 - a million files
    except OSError:
        return None


def _key(path: str, stat: os.stat_result | None) -> bytes:
    values = stat and (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    return hashlib.sha256(os.fsencode(f"{path}\0{values}")).digest()


def _digest(path: str) -> bytes:
    try:
        with open_file(path) as file:
            return hashlib.file_digest(file, "sha256").digest()  # type: ignore[arg-type]
    except OSError:
        return _UNREADABLE


def _memory(root: Path) -> Path:
    folder = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    name = hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:16]
    return Path(folder).expanduser() / "distill" / "file_digests" / name


def _load(memory: Path) -> dict[bytes, bytes]:
    """Digests by key; empty where the file is missing or damaged: it begins with the checksum of its pairs."""
    try:
        content = memory.read_bytes()
    except OSError:
        return {}
    pairs = content[_SIZE:]
    if hashlib.sha256(pairs).digest() != content[:_SIZE] or len(pairs) % (2 * _SIZE):
        return {}
    return {pairs[i : i + _SIZE]: pairs[i + _SIZE : i + 2 * _SIZE] for i in range(0, len(pairs), 2 * _SIZE)}


def _save(memory: Path, digests: dict[bytes, bytes]) -> None:
    pairs = b"".join(key + digest for key, digest in digests.items())
    with atomic_path(memory, several_writers=True) as temporary:
        temporary.write_bytes(hashlib.sha256(pairs).digest() + pairs)
