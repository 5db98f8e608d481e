"""Knowledge distillation with Hydra and Lightning."""

import importlib
from typing import Any

__all__ = ["load"]

# Modules that configurations name, under names that do not depend on the layout of the package.
PUBLIC_MODULES = {
    "ensemble": "distill.distillation.ensemble",
    "schedulers": "distill.training.schedulers",
    "simkd": "distill.distillation.simkd",
}


def __getattr__(name: str) -> Any:  # the command line answers before torch is imported
    if name == "load":
        from distill.evaluation.runs import load

        return load
    if name in PUBLIC_MODULES:
        return importlib.import_module(PUBLIC_MODULES[name])
    raise AttributeError(f"module 'distill' has no attribute '{name}'")
