"""Knowledge distillation with Hydra and Lightning."""

import importlib
from typing import Any

from distill.config.public_modules import PUBLIC_MODULES

__all__ = ["load"]


def __getattr__(name: str) -> Any:  # the command line answers before torch is imported
    if name == "load":
        from distill.evaluation.runs import load

        return load
    if name in PUBLIC_MODULES:
        return importlib.import_module(PUBLIC_MODULES[name])
    raise AttributeError(f"module 'distill' has no attribute '{name}'")
