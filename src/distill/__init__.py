"""Knowledge distillation with Hydra and Lightning."""

from typing import Any

__all__ = ["load"]


def __getattr__(name: str) -> Any:  # the command line answers before torch is imported
    if name == "load":
        from distill.runs import load

        return load
    raise AttributeError(f"module 'distill' has no attribute '{name}'")
