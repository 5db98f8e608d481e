"""What ``trainer.precision=auto`` means, from the hardware and the model.

The choice is a function of the configuration and the machine, never of a measurement: a run and its continuation
choose alike, and so do two runs that want the same teacher.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}  # what autocast computes in
SMALL_STEP = 1e9  # multiply-accumulates of a training step, below which casting costs more than bf16 saves on a CPU


def cpu_bf16() -> str | None:
    """The CPU's instructions that compute in bf16; None: it has none, and bf16 is slower than float32."""
    if torch.cpu._is_amx_tile_supported():
        return "AMX"
    return "AVX512-BF16" if torch.cpu._is_avx512_bf16_supported() else None


def choose(
    accelerator: str, model: nn.Module, step: float, inputs: Mapping[str, tuple[int, ...]] | None = None
) -> tuple[str, str]:
    """Lightning's name of the precision in which a model is trained, and why.

    Args:
        accelerator: as in ``trainer.accelerator``.
        model: what is trained.
        step: multiply-accumulates of a step: those of a sample's forward · the batch size, times 3 in training.
        inputs: in training, the shape that every module reads, by path.

    Example:
        >>> choose("cpu", nn.Linear(2, 2), 24.0)[0]
        '32-true'
    """
    if accelerator != "cpu" and torch.cuda.is_available():
        has = torch.cuda.is_bf16_supported()
        return ("bf16-mixed", "the GPU has bf16") if has else ("32-true", "the GPU has no bf16")
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return "32-true", "mps"
    if (units := cpu_bf16()) is None:
        return "32-true", "the CPU has no bf16 units"
    if step < SMALL_STEP:
        return "32-true", "its step is too small for bf16 to pay"
    if any(isinstance(module, nn.Conv2d) and module.groups > 1 for module in model.modules()):  # depthwise, too
        return "32-true", "its grouped convolutions are slower in bf16 on a CPU"
    if any(_skips_map(module, (inputs or {}).get(path, ())) for path, module in model.named_modules()):
        return "32-true", "bf16 on a CPU gives a convolution wrong gradients whose stride exceeds its map"
    return "bf16-mixed", f"the CPU has {units}"


def _skips_map(module: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether a convolution pads a map that is smaller than its stride.

    In bf16 torch 2.15 leaves gradients of such a convolution's weight unset on a CPU, where they read padding alone.
    """
    return (
        isinstance(module, nn.Conv2d)
        and any(
            step > side and padding  # "same" has stride 1, "valid" maps that are no smaller than the kernel
            for step, side, padding in zip(module.stride, shape[-2:], module.padding, strict=False)
        )
    )


def context(precision: str, device_type: str) -> AbstractContextManager[Any]:
    """In which a forward computes in a precision, whatever is set around it."""
    return torch.autocast(device_type, dtype=HALF.get(precision), enabled=precision in HALF)


def resolve(
    configured: Any,
    accelerator: str,
    model: nn.Module,
    step: float,
    inputs: Mapping[str, tuple[int, ...]] | None = None,
) -> tuple[Any, str]:
    """``trainer.precision`` as configured, or :func:`choose` for "auto"."""
    return choose(accelerator, model, step, inputs) if configured == "auto" else (configured, "as asked")


def uses_cuda(accelerator: str) -> bool:
    """Whether that accelerator is CUDA on this machine."""
    return accelerator in ("cuda", "gpu", "auto") and torch.cuda.is_available()
