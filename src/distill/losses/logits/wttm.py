"""Weighted transformed teacher matching (WTTM): TTM with a sample-adaptive weight."""

import torch.nn.functional as F
from torch import Tensor, nn

from distill.losses.checks import full_precision, positive, same_shape
from distill.losses.logits.ttm import transformed_divergence


@full_precision
def wttm_loss(student_logits: Tensor, teacher_logits: Tensor, gamma: float = 0.1) -> Tensor:
    """Weighted transformed teacher matching: mean_N U · KL(p_t^γ / U ‖ p_s), U = Σ_k p_t(k)^γ of the sample.

    For γ < 1, U is 1 for a teacher that is certain and C^(1 − γ) for one that has no idea. The mean is over the
    number of samples, not over the sum of U: with fewer classes the loss is smaller.

    Args:
        student_logits: shape (N, C).
        teacher_logits: shape (N, C).
        gamma: exponent, > 0 (paper: 0.1 to 0.4 on CIFAR-100); below 1 it smooths the teacher.

    Returns:
        A scalar ≥ 0 in nats per sample (× U).

    Raises:
        ValueError: gamma is not above 0, or the shapes differ.

    Source: Zheng and Yang 2024, "Knowledge Distillation Based on Transformed Teacher Matching", arXiv:2402.11148,
    section 4 and algorithm 1.

    Example:
        >>> import torch
        >>> wttm_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 4.0]]), gamma=0.5).item()
        0.0
    """
    positive("gamma", gamma)
    same_shape(student_logits, teacher_logits, "student_logits", "teacher_logits", dims=2)
    weight = (gamma * F.log_softmax(teacher_logits, dim=1)).logsumexp(dim=1).exp()
    return (weight * transformed_divergence(student_logits, teacher_logits, gamma)).mean()


class WTTM(nn.Module):
    """:func:`wttm_loss` with its exponent kept."""

    def __init__(self, gamma: float = 0.1) -> None:
        super().__init__()
        self.gamma = positive("gamma", gamma)

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return wttm_loss(student_logits, teacher_logits, self.gamma)
