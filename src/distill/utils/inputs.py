"""A model's inputs: a tensor, or any nesting of tensors whose first dimension counts the samples."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only


def num_samples(inputs: Any) -> int:
    """The length of the first tensor of the inputs; 0 where there is none. An exporter takes len() for a constant."""
    return next((x.shape[0] for x in tree_leaves(inputs) if isinstance(x, Tensor) and x.dim()), 0)


def first_samples(inputs: Any, n: int) -> Any:
    """The inputs of the first ``n`` samples."""
    return tree_map_only(Tensor, lambda x: x[:n], inputs)


def shapes(inputs: Any) -> tuple[tuple[int, ...], ...]:
    """The shape of every tensor."""
    return tuple(tuple(x.shape) for x in tree_leaves(inputs) if isinstance(x, Tensor))


def described(inputs: Any) -> str:
    """The shape of a tensor, or those of several by name, as messages show them."""
    if isinstance(inputs, Tensor):
        return str(tuple(inputs.shape))
    if isinstance(inputs, dict):
        return ", ".join(f"{name} {described(value)}" for name, value in inputs.items())
    return type(inputs).__name__


def to_device(inputs: Any, device: torch.device | str) -> Any:
    """The inputs in a device's memory."""
    return tree_map_only(Tensor, lambda x: x.to(device), inputs)
