"""Transformed teacher matching (TTM): KL divergence to a power-transformed teacher, student at T = 1."""

import torch.nn.functional as F
from torch import Tensor, nn

from distill.losses.checks import full_precision, positive, same_shape


def transformed_divergence(student_logits: Tensor, teacher_logits: Tensor, gamma: float) -> Tensor:
    """KL(p_t^γ / Σ p_t^γ ‖ p_s) of every sample, (N,). The power transform of a softmax is that of γ · logits."""
    log_s, log_t = F.log_softmax(student_logits, dim=1), F.log_softmax(gamma * teacher_logits, dim=1)
    return F.kl_div(log_s, log_t, reduction="none", log_target=True).sum(dim=1)


@full_precision
def ttm_loss(student_logits: Tensor, teacher_logits: Tensor, gamma: float = 0.1) -> Tensor:
    """Transformed teacher matching: mean_N KL(p_t^γ / Σ_k p_t(k)^γ ‖ p_s), p the softmax at temperature 1.

    γ = 1 / T of KD, on the teacher's side only: the student's plain output becomes as smooth as the target, where KD
    softens that too. There is no factor T²: the gradient p_s − p_t^γ / Σ p_t^γ does not shrink with γ.

    Args:
        student_logits: shape (N, C).
        teacher_logits: shape (N, C).
        gamma: exponent, > 0 (paper: 0.1 to 0.4 on CIFAR-100); below 1 it smooths the teacher.

    Returns:
        A scalar ≥ 0 in nats per sample.

    Raises:
        ValueError: gamma is not above 0, or the shapes differ.

    Source: Zheng and Yang 2024, "Knowledge Distillation Based on Transformed Teacher Matching", arXiv:2402.11148, eq. 2
    and 7.

    Example:
        >>> import torch
        >>> ttm_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 4.0]]), gamma=0.5).item()
        0.0
    """
    positive("gamma", gamma)
    same_shape(student_logits, teacher_logits, "student_logits", "teacher_logits", dims=2)
    return transformed_divergence(student_logits, teacher_logits, gamma).mean()


class TTM(nn.Module):
    """:func:`ttm_loss` with its exponent kept."""

    def __init__(self, gamma: float = 0.1) -> None:
        super().__init__()
        self.gamma = positive("gamma", gamma)

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return ttm_loss(student_logits, teacher_logits, self.gamma)
