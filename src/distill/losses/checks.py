"""What every loss asks of its arguments, and the precision it computes in."""

import math

import torch
from torch import Tensor


def upcast(x: Tensor) -> Tensor:
    """Half precision to float32; float32 and float64 as they are. Sums and logarithms need the digits."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def positive(name: str, value: float) -> float:
    """``value`` if it is a finite number above 0, else a ValueError that names it."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a finite number above 0, got {value}")
    return float(value)


def not_negative(name: str, value: float) -> float:
    """``value`` if it is a finite number of at least 0, else a ValueError that names it."""
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be a finite number of at least 0, got {value}")
    return float(value)


def same_shape(a: Tensor, b: Tensor, name_a: str, name_b: str, dims: int | None = None) -> None:
    """A ValueError that shows both shapes, unless they are equal (and have ``dims`` dimensions)."""
    if a.shape != b.shape:
        raise ValueError(f"{name_a} and {name_b} must have the same shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    if dims is not None and a.dim() != dims:
        raise ValueError(f"{name_a} and {name_b} must have {dims} dimensions, got shape {tuple(a.shape)}")
