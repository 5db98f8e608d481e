"""Reverse KL divergence: the student's distribution measured against the teacher's."""

from torch import Tensor, nn

from distill.losses.checks import full_precision, positive
from distill.losses.logits.divergence import kl, softened


@full_precision
def reverse_kl_loss(student_logits: Tensor, teacher_logits: Tensor, T: float = 1.0) -> Tensor:
    """Reverse KL: T² · mean_M KL(q ‖ p), p = softmax(z_t / T) of the teacher and q = softmax(z_s / T) of the student.

    KD's KL(p ‖ q) punishes a student for every class that the teacher finds possible and it does not; this one punishes
    it for what the teacher finds impossible. A student too small for all of the teacher's answer keeps its peaks.

    Args:
        student_logits: z_s, shape (M, C).
        teacher_logits: z_t, shape (M, C).
        T: temperature, > 0 (paper: 1).

    Returns:
        A scalar ≥ 0 in nats per row × T².

    Raises:
        ValueError: T is not above 0, or the shapes differ.

    Source: Gu et al. 2024, "MiniLLM: Knowledge Distillation of Large Language Models", arXiv:2306.08543, eq. 1: there
    of whole texts that the student writes, here of every row.

    Example:
        >>> import torch
        >>> reverse_kl_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 2.0]])).item()
        0.0
    """
    log_q, log_p = softened(student_logits, teacher_logits, T)
    return kl(log_q, log_p) * T**2


class ReverseKL(nn.Module):
    """:func:`reverse_kl_loss` with its temperature, T > 0, kept."""

    def __init__(self, T: float = 1.0) -> None:
        super().__init__()
        self.T = positive("T", T)

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return reverse_kl_loss(student_logits, teacher_logits, self.T)
