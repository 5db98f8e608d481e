"""What ``trainer.precision=auto`` means, from the hardware and the model.

The choice is a function of the configuration and the machine, never of a measurement: a run and its continuation
choose alike, and so do two runs that want the same teacher.
"""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}  # what autocast computes in
SMALL_STEP = 1e9  # multiply-accumulates of a training step, below which casting costs more than bf16 saves on a CPU


def grouped(model: nn.Module) -> bool:
    """Whether it has grouped (depthwise) convolutions, which a CPU runs slower in bf16 than in float32."""
    return any(isinstance(module, nn.Conv2d) and module.groups > 1 for module in model.modules())


def choose(accelerator: str, model: nn.Module, step: float) -> tuple[str, str]:
    """Lightning's name of the precision in which a model is trained, and why.

    Args:
        accelerator: as in ``trainer.accelerator``.
        model: what is trained.
        step: multiply-accumulates of a step: those of a sample's forward · the batch size, times 3 in training.

    Example:
        >>> choose("cpu", nn.Linear(2, 2), 24.0)[0]
        '32-true'
    """
    if accelerator != "cpu" and torch.cuda.is_available():
        has = torch.cuda.is_bf16_supported()
        return ("bf16-mixed", "the GPU has bf16") if has else ("32-true", "the GPU has no bf16")
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return "32-true", "mps"
    amx = torch.cpu._is_amx_tile_supported()
    if not (amx or torch.cpu._is_avx512_bf16_supported()):
        return "32-true", "the CPU has no bf16 units"
    if step < SMALL_STEP:
        return "32-true", "its step is too small for bf16 to pay"
    if grouped(model):
        return "32-true", "its grouped convolutions are slower in bf16 on a CPU"
    return "bf16-mixed", f"the CPU has {'AMX' if amx else 'AVX512-BF16'}"


def context(precision: str, device_type: str) -> AbstractContextManager[Any]:
    """In which a forward computes in a precision, whatever is set around it."""
    return torch.autocast(device_type, dtype=HALF.get(precision), enabled=precision in HALF)


def resolve(configured: Any, accelerator: str, model: nn.Module, step: float) -> tuple[Any, str]:
    """``trainer.precision`` as configured, or :func:`choose` for "auto"."""
    return choose(accelerator, model, step) if configured == "auto" else (configured, "as asked")


def uses_cuda(accelerator: str) -> bool:
    """Whether that accelerator is CUDA on this machine."""
    return accelerator in ("cuda", "gpu", "auto") and torch.cuda.is_available()
