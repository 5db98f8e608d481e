"""Logit standardisation (LSKD): z-scored logits for any logit-based loss."""

import torch
from torch import Tensor

from distill.losses.checks import full_precision


@full_precision
def standardize(logits: Tensor, eps: float = 1e-7) -> Tensor:
    """Z-score of every row: (z − mean z) / (std z + eps), std with C − 1 in the denominator.

    With it, softmax(z / T) is softmax(z / (T · std z)) of the logits as they were: T is the base temperature, in
    standard deviations of each sample's logits, and not a number of logits. A student then need not copy the
    range of the teacher's logits, only their proportions. Apply it to both models' logits, and not in cross-entropy.

    A row that does not vary becomes 0 and has no gradient (the formula's would be of the size 1 / eps).

    Args:
        logits: shape (N, C), C ≥ 2.
        eps: added to the standard deviation.

    Returns:
        (N, C), every row of mean 0 and standard deviation 1; float32 for half precision.

    Raises:
        ValueError: not two dimensions, or fewer than 2 classes.

    Source: Sun et al. 2024, "Logit Standardization in Knowledge Distillation", arXiv:2403.01427.

    Example:
        >>> standardize(torch.tensor([[2.0, 4.0, 6.0], [5.0, 5.0, 5.0]])).round(decimals=4).tolist()
        [[-1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    """
    if logits.dim() != 2 or logits.shape[1] < 2:
        raise ValueError(f"logits to be standardised must have shape (N, C), C at least 2, got {tuple(logits.shape)}")
    size = logits.detach().abs().amax(dim=1, keepdim=True)
    centred = logits - logits.mean(dim=1, keepdim=True)
    variance = centred.square().sum(dim=1, keepdim=True) / (logits.shape[1] - 1)
    varies = variance.detach().sqrt() > 10 * torch.finfo(logits.dtype).eps * size
    return torch.where(varies, centred, 0.0) / (torch.where(varies, variance, 1.0).sqrt() + eps)
