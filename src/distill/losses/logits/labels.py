"""Target and non-target classes of a batch of logits."""

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
    """The boolean mask (N, C) of the target class."""
    return torch.zeros_like(logits, dtype=torch.bool).scatter(1, target[:, None], True)


def non_target_classes(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Ln Σ_{k≠y} e^{z_k}, (N,), and the log-softmax over the non-target classes alone, (N, C), 0 at the target.

    The target class is left out by its index, not by a large number subtracted from its logit or by a sum under a mask:
    there is nothing to lose whatever the size of the logits, and no ln 0.
    """
    mask = target_mask(logits, target)
    others = logits.masked_fill(mask, -torch.inf)
    return others.logsumexp(dim=1), F.log_softmax(others, dim=1).masked_fill(mask, 0.0)
