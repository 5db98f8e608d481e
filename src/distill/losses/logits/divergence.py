"""KL divergence of softened rows, and mixtures of two of them: what the divergences beside KD share."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.losses.checks import positive, same_shape


def softened(student_logits: Tensor, teacher_logits: Tensor, T: float) -> tuple[Tensor, Tensor]:
    """The logarithm of softmax(z / T) of student and teacher, each (M, C).

    Raises:
        ValueError: T is not above 0, or the shapes differ.
    """
    positive("T", T)
    same_shape(student_logits, teacher_logits, "student_logits", "teacher_logits", dims=2)
    return F.log_softmax(student_logits / T, dim=1), F.log_softmax(teacher_logits / T, dim=1)


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """mean_M Σ_C p (ln p − ln q); both sides may have a gradient."""
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def log_mixture(log_a: Tensor, log_b: Tensor, share: float) -> Tensor:
    """ln(share · a + (1 − share) · b) for 0 < share < 1, without leaving the logarithms: no probability becomes 0."""
    return torch.logaddexp(log_a + math.log(share), log_b + math.log1p(-share))
