"""Teacher outputs on disk: one file holds one epoch of one split, complete or not at all.

A view is a function of (seed, epoch, index), so outputs stored by (epoch, index) under a key of teacher, data,
augmentation, seed and precision stay valid under augmentation. A file is written when the epoch ends, by each process
that computed some of it, and read when the epoch begins.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
import torch
from filelock import FileLock
from safetensors import SafetensorError
from torch import Tensor

from distill.utils.atomic import atomic_path, write_text
from distill.utils.checkpoints import CHECKSUM, checksum, read_safetensors
from distill.utils.errors import UserError

log = logging.getLogger(__name__)

MARKER = "distill-teacher-cache.json"
Key = Mapping[str, str | int | None]


@dataclass
class CachedOutputs:
    """Outputs for one split in one epoch, on any device.

    Attributes:
        present: which rows are stored, bool (N,).
        rows: by name, (N, ...).
        complete: all rows are stored.
        empty: no row was stored at first and none is read twice, which is known without synchronising the device.
    """

    present: Tensor
    rows: dict[str, Tensor] = field(default_factory=dict)
    complete: bool = False
    empty: bool = False
    _written: int = 0

    @classmethod
    def none(cls, samples: int, empty: bool = True) -> "CachedOutputs":
        """Without rows yet."""
        return cls(torch.zeros(samples, dtype=torch.bool), empty=empty)

    def to(self, device: torch.device) -> "CachedOutputs":
        """Move all tensors, in place."""
        if self.present.device != device:
            self.present = self.present.to(device)
            self.rows = {name: rows.to(device) for name, rows in self.rows.items()}
        return self

    def has(self, at: Tensor) -> bool:
        """Whether all these rows are stored."""
        return self.complete or (not self.empty and bool(self.present[at].all()))

    def put(self, at: Tensor, values: Mapping[str, Tensor]) -> None:
        """Store the rows of one batch."""
        for name, value in values.items():
            if name not in self.rows:
                self.rows[name] = value.new_zeros(len(self.present), *value.shape[1:])
            self.rows[name][at] = value
        self.present[at] = True
        self._written += len(at)
        if self._written >= len(self.present):
            self.complete = bool(self.present.all())


class Store:
    """One folder of outputs: one teacher, one dataset with its augmentation, one seed, one precision.

    Args:
        root: the folder of all caches.
        key: everything that determines the outputs; its digest names the folder.
        problem: nothing is written, for this reason.

    Attributes:
        problem: why nothing can be written, if that is so.
    """

    def __init__(self, root: Path, key: Key, problem: OSError | None = None) -> None:
        self.root = root
        text = json.dumps(key, sort_keys=True)
        self.folder = root / hashlib.sha256(text.encode()).hexdigest()[:16]
        self.problem = problem
        if problem is not None:
            return
        try:
            write_text(self.folder / "key.json", text, several_writers=True)
        except OSError as error:  # what is there can be read all the same
            self.problem = error

    def _path(self, split: str, epoch: int) -> Path:
        return self.folder / (f"{split}-{epoch:05d}.safetensors" if split == "train" else f"{split}.safetensors")

    def read(self, split: str, epoch: int, samples: int) -> CachedOutputs | None:
        """The outputs of one epoch, or None. A corrupt file is deleted."""
        path = self._path(split, epoch)
        try:
            rows = read_safetensors(path, required=True)
        except FileNotFoundError:
            return None
        except ValueError as error:
            return self._reject(path, str(error))
        present = rows.pop("present", torch.empty(0))
        if len(present) != samples:
            return self._reject(path, f"it holds {len(present)} samples, not {samples}")
        with suppress(OSError):  # read-only, or deleted meanwhile by a process that needed room
            os.utime(self.folder)  # used now: the last to be deleted
        present = present.bool()
        return CachedOutputs(present, rows, complete=bool(present.all()), empty=not bool(present.any()))

    @staticmethod
    def _reject(path: Path, why: str) -> None:
        log.warning(f"{path} of the teacher cache is not whole ({why}): built again")
        with suppress(OSError):
            path.unlink()

    def write(self, split: str, epoch: int, outputs: CachedOutputs) -> None:
        """Add the outputs, moved to the CPU, to those that another process may have written meanwhile.

        Raises:
            OSError: the disk is full, or cannot be written.
        """
        path = self._path(split, epoch)
        with FileLock(self.folder / "lock"):
            for leftover in self.folder.glob("*.part*"):  # by a process that was killed: this one has the lock
                leftover.unlink(missing_ok=True)
            outputs.to(torch.device("cpu"))
            stored = self.read(split, epoch, len(outputs.present))
            if stored is not None and stored.complete and stored.rows.keys() >= outputs.rows.keys():
                return  # written by a concurrent job with the same teacher
            if stored is not None and stored.rows.keys() == outputs.rows.keys():
                missing = (stored.present & ~outputs.present).nonzero()[:, 0]
                outputs.put(missing, {name: rows[missing] for name, rows in stored.rows.items()})
            tensors = {**outputs.rows, "present": outputs.present.to(torch.uint8)}
            try:
                with atomic_path(path, several_writers=True) as temporary:
                    safetensors.torch.save_file(tensors, temporary, {CHECKSUM: checksum(tensors)})
            except SafetensorError as error:
                raise OSError(str(error)) from error

    def clear(self) -> None:
        """Delete the outputs."""
        for path in self.folder.glob("*.safetensors"):
            with suppress(OSError):
                path.unlink()


def claim(root: Path) -> None:
    """Mark ``root`` as a folder of caches.

    Raises:
        UserError: it holds something else.
        OSError: it cannot be created.
    """
    if root.exists() and not root.is_dir():
        raise UserError(f"cache.dir={root} is no folder")
    if root.is_dir() and any(root.iterdir()) and not (root / MARKER).is_file():
        raise UserError(f"cache.dir={root} holds other files: name a folder of its own")
    root.mkdir(parents=True, exist_ok=True)
    if not (root / MARKER).is_file():
        write_text(root / MARKER, "{}\n", several_writers=True)


def make_room(root: Path, needed: int, limit: int, keep: Sequence[Path]) -> None:
    """Delete the least recently used caches until those of ``keep`` can each grow to ``needed`` bytes.

    Args:
        root: the folder of all caches.
        needed: final size of each of ``keep``, in bytes.
        limit: of all caches together, in bytes.
        keep: folders that are not deleted.
    """
    others = [(*_usage(folder), folder) for folder in root.iterdir() if folder.is_dir() and folder not in keep]
    total = sum(size for _, size, _ in others) + sum(max(needed, _usage(folder)[1]) for folder in keep)
    for _, size, folder in sorted(others):
        if total <= limit:
            return
        shutil.rmtree(folder, ignore_errors=True)
        total -= size


def _usage(folder: Path) -> tuple[float, int]:
    """Time of the last use and size of the files; zeros for what another process has deleted meanwhile."""
    used, size = 0.0, 0
    with suppress(OSError):
        used = folder.stat().st_mtime
    for file in folder.glob("*"):
        with suppress(OSError):
            size += file.stat().st_size
    return used, size
