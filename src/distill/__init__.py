"""Knowledge distillation with Hydra and Lightning."""

import importlib
from typing import Any

from distill.config import PUBLIC_MODULES

__all__ = ["Distiller", "UserError", "load", "losses", "sweep", "train"]

_EXPORTS = {
    "Distiller": "distill.training.distiller",
    "UserError": "distill.utils.errors",
    "load": "distill.evaluation.runs",
    "sweep": "distill.cli.api",
    "train": "distill.cli.api",
}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:  # the command line answers before torch is imported
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    if name == "losses":
        return importlib.import_module("distill.losses")
    if name in PUBLIC_MODULES:
        return importlib.import_module(PUBLIC_MODULES[name])
    raise AttributeError(f"module 'distill' has no attribute '{name}'")
