"""The right class and the others: what the losses share that look at them apart."""

import torch
import torch.nn.functional as F
from torch import Tensor


def check_labels(logits: Tensor, target: Tensor) -> None:
    """A ValueError unless ``logits`` are (N, C) of at least 2 classes and ``target`` has shape (N,)."""
    if logits.dim() != 2 or logits.shape[1] < 2:
        raise ValueError(f"logits must have shape (N, C) with at least 2 classes, got {tuple(logits.shape)}")
    if target.shape != logits.shape[:1]:
        raise ValueError(f"target must have shape ({logits.shape[0]},), got {tuple(target.shape)}")


def target_mask(logits: Tensor, target: Tensor) -> Tensor:
    """The mask (N, C) of the right class."""
    return torch.zeros_like(logits, dtype=torch.bool).scatter(1, target[:, None], True)


def non_target_classes(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The classes that are not right: ln Σ_{k≠y} e^{z_k}, (N,), and ln softmax over them, (N, C), 0 at the right class.

    The right class is left out by its index, not by a large number subtracted from its logit or by a sum under a mask:
    there is nothing to lose whatever the size of the logits, and no ln 0.
    """
    right = target_mask(logits, target)
    others = logits.masked_fill(right, -torch.inf)
    return others.logsumexp(dim=1), F.log_softmax(others, dim=1).masked_fill(right, 0.0)
