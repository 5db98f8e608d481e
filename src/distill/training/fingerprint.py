"""What shapes a teacher that is trained here, and so is part of its folder's name."""

import hashlib
import inspect
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra.utils import get_object

from distill.config.schema import TrainerConfig
from distill.data import DataModule

TRAINER_DEFAULTS = asdict(TrainerConfig())
HARMLESS = (
    "_target_", "max_epochs", "gradient_clip_val", "precision",  # the recipe has its own
    "accelerator", "devices", "num_nodes", "strategy", "deterministic", "benchmark", "profiler",
    "log_every_n_steps", "check_val_every_n_epoch", "limit_val_batches", "limit_test_batches",
    "enable_progress_bar", "enable_model_summary",
)  # fmt: skip
ONLOOKERS = ("ModelCheckpoint", "LearningRateMonitor", "TQDMProgressBar", "RichProgressBar", "DeviceStatsMonitor")


def _source_digest(target: str) -> str | None:
    """Digest of the file that defines a user's own class; ours and packages' are known by their names."""
    if target.split(".")[0] in ("distill", "torch", "torchvision", "timm"):
        return None
    try:
        file = inspect.getsourcefile(get_object(target))
    except TypeError:  # an object without source: its configuration alone tells it apart
        return None
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else None


def fingerprint_inputs(cfg: dict[str, Any], data: DataModule, precision: Any) -> dict[str, Any]:
    """Everything that shapes a teacher which is trained here.

    Of the trainer's arguments all but ``HARMLESS`` count, of the callbacks all but those that only look on.
    """
    trainer = {k: v for k, v in cfg["trainer"].items() if k not in HARMLESS and v != TRAINER_DEFAULTS.get(k)}
    callbacks = {k: v for k, v in cfg["callbacks"].items() if v and v["_target_"].rpartition(".")[2] not in ONLOOKERS}
    nodes = {"teacher": cfg["teacher"], "transform": cfg["data"]["transform"], **callbacks}
    return {
        "teacher": {key: value for key, value in cfg["teacher"].items() if key != "checkpoint"},
        "data": data.fingerprint,
        "transform": cfg["data"]["transform"] or None,
        "precision": str(precision),
        "trainer": trainer,
        "callbacks": callbacks,
        "code": {key: _source_digest(node["_target_"]) for key, node in nodes.items() if node},
    }
