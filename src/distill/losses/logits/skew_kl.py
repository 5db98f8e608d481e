"""Skew KL divergence: KL against a mixture with a share of the distribution itself, forward or reverse."""

from torch import Tensor, nn

from distill.losses.checks import full_precision, positive, share
from distill.losses.logits.divergence import kl, log_mixture, softened


@full_precision
def skew_kl_loss(
    student_logits: Tensor, teacher_logits: Tensor, alpha: float = 0.1, reverse: bool = False, T: float = 1.0
) -> Tensor:
    """Skew KL: T² · mean_M KL(p ‖ alpha · p + (1 − alpha) · q); with ``reverse`` p and q change places.

    p = softmax(z_t / T) is the teacher's distribution, q = softmax(z_s / T) the student's. The share alpha bounds the
    divergence by −ln alpha, and so the gradient where the second distribution is next to 0. alpha = 0 gives KL(p ‖ q)
    (KD) and KL(q ‖ p).

    Args:
        student_logits: z_s, shape (M, C).
        teacher_logits: z_t, shape (M, C).
        alpha: share of the first distribution in the second, in [0, 1); at 1 the two would be the same (paper: 0.1).
        reverse: the student's distribution against the teacher's.
        T: temperature, > 0 (paper: 1).

    Returns:
        A scalar ≥ 0 in nats per row × T².

    Raises:
        ValueError: alpha is outside [0, 1), T is not above 0, or the shapes differ.

    Source: Ko et al. 2024, "DistiLLM: Towards Streamlined Distillation for Large Language Models", arXiv:2402.03898,
    section 3.1.

    Example:
        >>> import torch
        >>> skew_kl_loss(torch.tensor([[0.0, 90.0]]), torch.tensor([[90.0, 0.0]]), alpha=0.5).item()  # −ln alpha
        0.6931471824645996
    """
    share("alpha", alpha, below_1=True)
    log_q, log_p = softened(student_logits, teacher_logits, T)
    first, second = (log_q, log_p) if reverse else (log_p, log_q)
    return kl(first, log_mixture(first, second, alpha) if alpha else second) * T**2


class SkewKL(nn.Module):
    """:func:`skew_kl_loss` with its settings kept."""

    fixed = ("reverse",)  # no schedule can change it

    def __init__(self, alpha: float = 0.1, reverse: bool = False, T: float = 1.0) -> None:
        super().__init__()
        self.alpha = share("alpha", alpha, below_1=True)
        self.reverse = reverse
        self.T = positive("T", T)

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return skew_kl_loss(student_logits, teacher_logits, self.alpha, self.reverse, self.T)

    def per_token(self, log_p: Tensor, log_q: Tensor) -> Tensor | None:
        """T² (ln p − ln(alpha · p + (1 − alpha) · q)), whose mean under p is the loss; None where it is reversed."""
        if self.reverse:
            return None
        return (log_p - (log_mixture(log_p, log_q, self.alpha) if self.alpha else log_q)) * self.T**2
