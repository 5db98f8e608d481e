"""The fingerprint of a trained teacher: what determines its weights. It is part of the name of its folder."""

import hashlib
import inspect
from dataclasses import asdict
from pathlib import Path
from typing import Any

from distill.config.instantiate import resolve_target
from distill.config.key_sets import NOT_THE_TEACHERS, WATCHING_CALLBACKS
from distill.config.schema import Node, TrainConfig, TrainerConfig
from distill.data import DataModule
from distill.training import pretrained
from distill.training.best_epoch import chosen_by

CLASSIFICATION = "distill.tasks.classification.Classification"
TRAINER_DEFAULTS = asdict(TrainerConfig())


def _source_digest(target: str, key: str) -> str | None:
    """Digest of the source file of a user-defined class; None for those of this package and of known libraries."""
    if target.split(".")[0] in ("distill", "torch", "torchvision", "timm"):
        return None
    try:
        file = inspect.getsourcefile(resolve_target({"_target_": target}, key))
    except TypeError:  # an object without source
        return None
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else None


def fingerprint_inputs(cfg: TrainConfig, teacher: Node, data: DataModule[Any], precision: Any) -> dict[str, Any]:
    """Everything that determines a teacher trained with this configuration.

    Of the Trainer's arguments all but ``NOT_THE_TEACHERS`` count, of the callbacks all but ``WATCHING_CALLBACKS``.
    """
    trainer = {k: v for k, v in vars(cfg.trainer).items() if k not in NOT_THE_TEACHERS and v != TRAINER_DEFAULTS.get(k)}
    callbacks = {
        k: v for k, v in cfg.callbacks.items() if v and v["_target_"].rpartition(".")[2] not in WATCHING_CALLBACKS
    }
    best = {"load_best_model_at_end": node} if (node := chosen_by(cfg)) else {}  # the last epoch's were kept before
    nodes = {"teacher": teacher, "transform": cfg.data.transform, **callbacks}
    task = {} if cfg.task["_target_"] == CLASSIFICATION else {"task": cfg.task}  # not named where there was no other
    nodes |= task
    return {
        **task,
        "teacher": {
            key: value
            for key, value in teacher.items()
            if key not in ("checkpoint", *pretrained.own_keys(teacher, "teacher"))
        },
        **pretrained.fingerprint_inputs(teacher, "teacher"),
        "data": data.fingerprint,
        "classes": data.classes,
        "input_shape": data.input_shape,
        "transform": cfg.data.transform or None,
        "precision": str(precision),
        "trainer": trainer,
        "callbacks": callbacks,
        **best,
        "code": {
            key: _source_digest(node["_target_"], f"callbacks.{key}" if key in callbacks else key)
            for key, node in nodes.items()
            if node
        },
    }
