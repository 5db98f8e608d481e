"""Obtain a teacher: loaded from a checkpoint or from an earlier run, or trained now and stored."""

import hashlib
import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from distill.distillation.model_info import NamedModel
from distill.utils import distributed
from distill.utils.atomic import write_json
from distill.utils.checkpoints import load_weights, save_weights
from distill.utils.errors import UserError


@dataclass(frozen=True)
class TeacherSource:
    """Where a teacher comes from.

    Attributes:
        checkpoint: a file to load; None: find or train it.
        store: the folder of kept teachers.
        label: the readable part of its folder's name.
        fingerprint_inputs: everything that shapes a trained teacher; its digest is the other part of the name.
        max_epochs: of its training; 0: take the model as it was built (pretrained).
    """

    checkpoint: Path | None
    store: Path
    label: str
    fingerprint_inputs: dict[str, Any]
    max_epochs: int

    @property
    def folder(self) -> Path:
        """Where this very teacher is kept."""
        text = json.dumps(self.fingerprint_inputs, sort_keys=True, default=str)
        return self.store / f"{self.label}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def obtain(net: NamedModel, source: TeacherSource, train: Callable[[Path], None]) -> dict[str, Any]:
    """Load or train the weights of ``net.model``.

    A lock on the teacher's folder lets one process train it while the others wait; the system frees it when its
    holder dies, and the next one continues from the last checkpoint. Of the several processes of one job the first
    one holds the lock, and all train.

    Args:
        net: the teacher, changed in place.
        source: where it comes from.
        train: trains ``net.model`` with its recipe in a folder.

    Returns:
        ``origin`` ("checkpoint", "as built", "found" or "trained") and ``path``.

    Raises:
        UserError: a checkpoint that does not fit; a kept file that is not what was written.
    """
    if source.checkpoint is not None:
        load_weights(net.model, source.checkpoint, net.model_info.name)
        return {"origin": "checkpoint", "path": str(source.checkpoint)}
    if source.max_epochs == 0:
        return {"origin": "as built", "path": None}
    folder = source.folder
    weights, record = folder / "teacher.safetensors", folder / "teacher.json"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock") if distributed.is_rank_zero() else nullcontext():
        if distributed.broadcast_object(record.is_file()):
            if not weights.is_file() or json.loads(record.read_text())["sha256"] != _digest(weights):
                raise UserError(f"{weights} is not the file that was written; delete {folder} to train it again")
            load_weights(net.model, weights, net.model_info.name)
            return {"origin": "found", "path": str(weights)}
        train(folder)
        if not distributed.is_rank_zero():
            return {"origin": "trained", "path": str(weights)}
        save_weights(net.model, weights)
        write_json(record, {"sha256": _digest(weights), "shaped_by": source.fingerprint_inputs}, indent=2)
    return {"origin": "trained", "path": str(weights)}
