"""Validation of a loss's arguments, and the numerics that the losses share."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

import torch
from torch import Tensor

P = ParamSpec("P")


def upcast(x: Tensor) -> Tensor:
    """Half precision to float32; float32, float64 and integers as they are. Sums and logarithms need the digits."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _upcast_all(value: Any) -> Any:
    """:func:`upcast` for a tensor or a list of them; anything else as it is."""
    if isinstance(value, Tensor):
        return upcast(value)
    return [_upcast_all(item) for item in value] if isinstance(value, (list, tuple)) else value


def full_precision(loss: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Makes a loss compute in float32 under autocast and on half-precision inputs; float64 stays float64.

    Casting the inputs alone would not do: autocast brings every product back to half precision.
    """

    @functools.wraps(loss)
    def computed(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        values = [*args, *kwargs.values()]
        tensors = [v for item in values for v in (item if isinstance(item, (list, tuple)) else [item])]
        device = next((v.device.type for v in tensors if isinstance(v, Tensor)), "cpu")
        with torch.autocast(device, enabled=False):
            return loss(*map(_upcast_all, args), **{name: _upcast_all(v) for name, v in kwargs.items()})

    return computed


def sum_of_squares(x: Tensor) -> Tensor:
    """Σ x² without a tensor of squares; its gradient 2x is one tensor too. Maps are large and memory is what costs."""
    norm: Tensor = torch.linalg.vector_norm(x)
    return norm.square()


def zero(*tensors: Tensor) -> Tensor:
    """The loss of a batch for which it is undefined: 0, with a gradient of 0 for each of the ``tensors``."""
    return torch.stack([upcast(x).sum() for x in tensors]).sum() * 0.0


def positive(name: str, value: float) -> float:
    """``value`` if it is a finite number above 0, else a ValueError that names it."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a finite number above 0, got {value}")
    return float(value)


def whole(name: str, value: int) -> int:
    """``value`` if it is an integer of at least 1, else a ValueError that names it."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {value}")
    return value


def at_least(name: str, value: float, least: int = 0) -> float:
    """``value`` if it is a finite number of at least ``least``, else a ValueError that names it."""
    if not (math.isfinite(value) and value >= least):
        raise ValueError(f"{name} must be a finite number of at least {least}, got {value}")
    return float(value)


def share(name: str, value: float, below_1: bool = False) -> float:
    """``value`` if it lies in [0, 1], or with ``below_1`` in [0, 1), else a ValueError that names it."""
    if not (0 <= value < 1 or (value == 1 and not below_1)):
        raise ValueError(f"{name} must lie in [0, 1{')' if below_1 else ']'}, got {value}")
    return float(value)


def same_shape(a: Tensor, b: Tensor, name_a: str, name_b: str, dims: int | None = None) -> None:
    """A ValueError that shows both shapes, unless they are equal (and have ``dims`` dimensions)."""
    if a.shape != b.shape:
        raise ValueError(f"{name_a} and {name_b} must have the same shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    if dims is not None and a.dim() != dims:
        raise ValueError(f"{name_a} and {name_b} must have {dims} dimensions, got shape {tuple(a.shape)}")


def same_stages(loss: str, student: Sequence[object], teacher: Sequence[object], least: int = 1) -> None:
    """A ValueError unless both hold as many stages, at least ``least``."""
    if len(student) != len(teacher) or len(student) < least:
        raise ValueError(
            f"{loss} needs at least {least} stage{'s' * (least > 1)}, as many of the student as of the teacher, "
            f"got {len(student)} and {len(teacher)}"
        )


def one_each(name: str, x: Tensor, samples: int) -> None:
    """A ValueError unless ``x`` holds one value per sample, (N,)."""
    if x.shape != (samples,):
        raise ValueError(f"{name} must have shape ({samples},), one value per sample, got {tuple(x.shape)}")


def same_samples(student: Tensor, teacher: Tensor, least: int = 1) -> None:
    """A ValueError unless both are (N, D, ...) of the same number of samples, at least ``least``."""
    if min(student.dim(), teacher.dim()) < 2:
        raise ValueError(
            "student and teacher must have shape (N, D) or more dimensions, "
            f"got {tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    if student.shape[0] != teacher.shape[0]:
        raise ValueError(f"student and teacher must hold the same samples, got {len(student)} and {len(teacher)}")
    if student.shape[0] < least:
        raise ValueError(f"a relation needs at least {least} samples in a batch, got {student.shape[0]}")
