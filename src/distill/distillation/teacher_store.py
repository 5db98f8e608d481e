"""Obtain a teacher: loaded from a checkpoint or from an earlier run, or trained now and stored."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from filelock import FileLock, Timeout

from distill.distillation.model_info import NamedModel
from distill.models.hub.preprocess import NOTE, preprocess_of
from distill.utils import checked, distributed
from distill.utils.checkpoints import load_weights, save_weights, weights_of
from distill.utils.errors import UserError
from distill.utils.values import check_finite

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TeacherSource:
    """Where a teacher comes from.

    Attributes:
        checkpoint: a file to load; None: find or train it.
        store: the folder of stored teachers.
        label: the readable part of its folder's name.
        fingerprint_inputs: everything that shapes a trained teacher; its digest is the other part of the name.
        max_epochs: of its training; 0: take the model as it was built (pretrained).
    """

    checkpoint: Path | None
    store: Path
    label: str
    fingerprint_inputs: Mapping[str, Any]
    max_epochs: int

    @property
    def folder(self) -> Path:
        """Where this very teacher is stored."""
        text = json.dumps(self.fingerprint_inputs, sort_keys=True, default=str)
        return self.store / f"{self.label}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def record(self) -> Path:
        """The file that is written once the teacher is stored."""
        return self.folder / "teacher.json"


class Origin(NamedTuple):
    """Where a teacher's weights came from, and the path of their file."""

    origin: Literal["checkpoint", "as built", "found", "trained"]
    path: str | None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_whole(weights: Path, record: Path) -> bool:
    try:
        return bool(checked.parse(record).get("sha256") == _digest(weights))
    except (OSError, ValueError):
        return False


@contextmanager
def _locked(folder: Path, name: str) -> Iterator[None]:
    """Hold the lock on a teacher's folder in the first process; another job that trains this teacher is waited for."""
    if not distributed.is_rank_zero():
        yield
        return
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info(f"waiting for another process, which trains {name} in {folder}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def obtain(net: NamedModel, source: TeacherSource, train: Callable[[Path], None]) -> Origin:
    """Load or train the weights of ``net.model``.

    A lock on the teacher's folder lets one process train it while the others wait; the system frees it when its
    holder dies, and the next one continues from the last checkpoint. Of the several processes of one job the first
    one holds the lock, and all train.

    Args:
        net: the teacher, changed in place.
        source: where it comes from.
        train: trains ``net.model`` with its recipe in a folder.

    Raises:
        UserError: a checkpoint that does not fit; a stored file that is not what was written.
    """
    if source.checkpoint is not None:
        load_weights(net.model, source.checkpoint, net.model_info.name, net.without)
        return Origin("checkpoint", str(source.checkpoint))
    if source.max_epochs == 0:
        check_finite(weights_of(net.model), f"the weights of {net.model_info.name}")
        return Origin("as built", None)
    folder = source.folder
    weights, record = folder / "teacher.safetensors", source.record
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder, net.model_info.name):
        if distributed.broadcast_object(record.is_file()):
            if not _is_whole(weights, record):
                raise UserError(f"{weights} is not the file that was written; delete {folder} to train it again")
            load_weights(net.model, weights, net.model_info.name)
            return Origin("found", str(weights))
        train(folder)
        if distributed.is_rank_zero():
            own = preprocess_of(net.model)
            save_weights(net.model, weights, notes={NOTE: json.dumps(own.as_dict())} if own else {})
            checked.write_json(record, {"sha256": _digest(weights), "shaped_by": source.fingerprint_inputs})
    return Origin("trained", str(weights))
