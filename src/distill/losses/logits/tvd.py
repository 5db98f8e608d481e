"""Total variation distance (TVD): half the sum of absolute differences of two distributions."""

from torch import Tensor, nn

from distill.losses.checks import full_precision, positive
from distill.losses.logits.divergence import softened


@full_precision
def tvd_loss(student_logits: Tensor, teacher_logits: Tensor, T: float = 1.0) -> Tensor:
    """TVD: T · mean_M ½ Σ_C |p − q|, p = softmax(z_t / T) of the teacher and q = softmax(z_s / T) of the student.

    Symmetric and bounded: a row where the two have nothing in common counts as one, however unlikely the student finds
    what the teacher says. Its gradient shrinks as 1 / T, not as 1 / T², hence the factor T.

    Args:
        student_logits: z_s, shape (M, C).
        teacher_logits: z_t, shape (M, C).
        T: temperature, > 0 (paper: 1).

    Returns:
        A scalar in [0, T].

    Raises:
        ValueError: T is not above 0, or the shapes differ.

    Source: Wen et al. 2023, "f-Divergence Minimization for Sequence-Level Knowledge Distillation", arXiv:2307.15190,
    section 3.2.

    Example:
        >>> import torch
        >>> tvd_loss(torch.tensor([[0.0, 90.0]]), torch.tensor([[90.0, 0.0]])).item()  # nothing in common
        1.0
    """
    log_q, log_p = softened(student_logits, teacher_logits, T)
    return (log_p.exp() - log_q.exp()).abs().sum(1).mean() * (T / 2)


class TVD(nn.Module):
    """:func:`tvd_loss` with its temperature, T > 0, kept."""

    def __init__(self, T: float = 1.0) -> None:
        super().__init__()
        self.T = positive("T", T)

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return tvd_loss(student_logits, teacher_logits, self.T)

    def per_token(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        """T max(0, 1 − q / p), whose mean under p is the loss."""
        return (1 - (log_q - log_p).exp()).clamp(min=0) * self.T
