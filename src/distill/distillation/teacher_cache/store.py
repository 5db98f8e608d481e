"""Answers on disk: one file holds one epoch of one split, whole or not at all.

A view is a function of (seed, epoch, index), so answers kept by (epoch, index) under a key of teacher, data,
augmentation, seed and precision stay right under augmentation. A file is written when the epoch ends, by each process
that computed some of it, and read when the epoch begins.
"""

import hashlib
import json
import logging
import os
import shutil
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from torch import Tensor

from distill.utils.atomic import atomic_path, write_text
from distill.utils.errors import UserError

log = logging.getLogger(__name__)

MARKER = "distill-teacher-cache.json"


@dataclass
class CachedOutputs:
    """Answers of one split in one epoch, on any device.

    Attributes:
        present: which rows are there, bool (N,).
        rows: by name, (N, ...).
        whole: all rows are there.
        empty: none was there at first, and none is asked for twice: known without waiting for the device.
    """

    present: Tensor
    rows: dict[str, Tensor] = field(default_factory=dict)
    whole: bool = False
    empty: bool = False
    _put: int = 0

    @classmethod
    def none(cls, samples: int) -> "CachedOutputs":
        """No answers yet."""
        return cls(torch.zeros(samples, dtype=torch.bool), empty=True)

    def to(self, device: torch.device) -> "CachedOutputs":
        """Moves them, in place."""
        if self.present.device != device:
            self.present = self.present.to(device)
            self.rows = {name: rows.to(device) for name, rows in self.rows.items()}
        return self

    def has(self, at: Tensor) -> bool:
        """Whether these rows are all there."""
        return self.whole or (not self.empty and bool(self.present[at].all()))

    def put(self, at: Tensor, values: Mapping[str, Tensor]) -> None:
        """Keeps the rows of one batch."""
        for name, value in values.items():
            if name not in self.rows:
                self.rows[name] = value.new_zeros(len(self.present), *value.shape[1:])
            self.rows[name][at] = value
        self.present[at] = True
        self._put += len(at)
        if self._put >= len(self.present):
            self.whole = bool(self.present.all())

    def join(self, other: "CachedOutputs") -> None:
        """Takes over what is missing here."""
        at = (other.present & ~self.present).nonzero()[:, 0]
        if len(at):
            self.put(at, {name: rows[at] for name, rows in other.rows.items()})


class Store:
    """One folder of answers: one teacher, one dataset with its augmentation, one seed, one precision.

    Args:
        root: the folder of all caches.
        key: everything that shapes the answers; its digest names the folder.

    Attributes:
        problem: why nothing can be written; None: it can, as far as is known.
    """

    def __init__(self, root: Path, key: Mapping[str, Any]) -> None:
        self.root = root
        text = json.dumps(key, sort_keys=True, default=str)
        self.folder = root / hashlib.sha256(text.encode()).hexdigest()[:16]
        self.problem: OSError | None = None
        try:
            write_text(self.folder / "key.json", text, several_writers=True)
        except OSError as error:  # what is there can be read all the same
            self.problem = error

    def _path(self, split: str, epoch: int) -> Path:
        return self.folder / (f"{split}-{epoch:05d}.safetensors" if split == "train" else f"{split}.safetensors")

    def has(self, split: str, epoch: int) -> bool:
        """Whether there is a file."""
        return self._path(split, epoch).is_file()

    def read(self, split: str, epoch: int, samples: int) -> CachedOutputs | None:
        """The answers of one epoch; None where there are none. A file that is not whole is deleted."""
        path = self._path(split, epoch)
        try:
            with safe_open(path, "pt") as file:
                expected = (file.metadata() or {}).get("crc32")
                rows = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, ValueError) as error:
            return self._rejected(path, str(error))
        present = rows.pop("present", torch.empty(0))
        if str(_checksum({**rows, "present": present})) != expected or len(present) != samples:
            return self._rejected(path, "its checksum is wrong")
        with suppress(OSError):  # read-only, or deleted meanwhile by a process that needed room
            os.utime(self.folder)  # used now: the last to be deleted
        here = present.bool()
        return CachedOutputs(here, rows, whole=bool(here.all()), empty=not bool(here.any()))

    @staticmethod
    def _rejected(path: Path, why: str) -> None:
        log.warning(f"{path} of the teacher cache is not whole ({why}): built again")
        with suppress(OSError):
            path.unlink()

    def write(self, split: str, epoch: int, answers: CachedOutputs) -> None:
        """Adds the answers, moved to the CPU, to what another process may have written meanwhile.

        Raises:
            OSError: the disk is full, or cannot be written.
        """
        path = self._path(split, epoch)
        with FileLock(self.folder / "lock"):
            for left in self.folder.glob("*.part*"):  # by a process that was killed: this one has the lock
                left.unlink(missing_ok=True)
            answers.to(torch.device("cpu"))
            before = self.read(split, epoch, len(answers.present))
            if before is not None and before.whole and before.rows.keys() >= answers.rows.keys():
                return  # jobs side by side ask the same; the first to end has written it for all
            if before is not None and before.rows.keys() == answers.rows.keys():
                answers.join(before)
            tensors = {**answers.rows, "present": answers.present.to(torch.uint8)}
            try:
                with atomic_path(path, several_writers=True) as temporary:
                    safetensors.torch.save_file(tensors, temporary, {"crc32": str(_checksum(tensors))})
            except SafetensorError as error:
                raise OSError(str(error)) from error

    def clear(self) -> None:
        """Deletes the answers."""
        for path in self.folder.glob("*.safetensors"):
            with suppress(OSError):
                path.unlink()


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    crc = 0
    for name in sorted(tensors):
        crc = zlib.crc32(tensors[name].contiguous().view(torch.uint8).numpy().data, zlib.crc32(name.encode(), crc))
    return crc


def claim(root: Path) -> None:
    """Makes ``root`` a folder of caches.

    Raises:
        UserError: it holds something else.
        OSError: it is not there, and cannot be made.
    """
    if root.exists() and not root.is_dir():
        raise UserError(f"cache.dir={root} is no folder")
    if root.is_dir() and any(root.iterdir()) and not (root / MARKER).is_file():
        raise UserError(f"cache.dir={root} holds other files: name a folder of its own")
    root.mkdir(parents=True, exist_ok=True)
    if not (root / MARKER).is_file():
        write_text(root / MARKER, "{}\n", several_writers=True)


def make_room(root: Path, needed: int, limit: int, keep: Sequence[Path]) -> None:
    """Deletes the caches that were used longest ago until those of ``keep`` can each grow to ``needed`` bytes.

    Args:
        root: the folder of all caches.
        needed: bytes of each of ``keep`` in the end, what is there of it included.
        limit: of all caches together, in bytes.
        keep: folders that are not deleted.
    """
    others = {d: (_used(d), _bytes(d)) for d in root.iterdir() if d.is_dir() and d not in keep}
    total = sum(size for _, size in others.values()) + sum(max(needed, _bytes(folder)) for folder in keep)
    for folder, (_, size) in sorted(others.items(), key=lambda item: item[1][0]):
        if total <= limit:
            return
        shutil.rmtree(folder, ignore_errors=True)
        total -= size


def _used(folder: Path) -> float:
    """When it was last used; other processes may delete what they find here, and did so long ago then."""
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def _bytes(folder: Path) -> int:
    """What it takes on disk."""
    total = 0
    for file in folder.glob("*"):
        with suppress(OSError):
            total += file.stat().st_size
    return total
