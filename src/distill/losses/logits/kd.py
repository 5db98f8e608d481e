"""Knowledge distillation (KD): KL divergence between temperature-softened distributions."""

import torch.nn.functional as F
from torch import Tensor, nn

from distill.losses.checks import full_precision, positive, same_shape


@full_precision
def kd_loss(student_logits: Tensor, teacher_logits: Tensor, T: float = 4.0, t_squared: bool = True) -> Tensor:
    """Soft-target loss of Hinton et al.: T² · mean_N KL(softmax(z_t / T) ‖ softmax(z_s / T)).

    The factor T² keeps the scale of the gradient the same for every T (without it, it shrinks as 1/T²).

    Args:
        student_logits: z_s, shape (N, C).
        teacher_logits: z_t, shape (N, C).
        T: temperature, > 0.
        t_squared: multiply by T². False leaves the bare divergence.

    Returns:
        A scalar in nats per sample (× T²).

    Raises:
        ValueError: T is not above 0, or the shapes differ.

    Source: Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531.

    Example:
        >>> import torch
        >>> kd_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 2.0]])).item()
        0.0
    """
    positive("T", T)
    same_shape(student_logits, teacher_logits, "student_logits", "teacher_logits", dims=2)
    log_s, log_t = F.log_softmax(student_logits / T, dim=1), F.log_softmax(teacher_logits / T, dim=1)
    divergence = F.kl_div(log_s, log_t, reduction="batchmean", log_target=True)
    return divergence * T**2 if t_squared else divergence


class KD(nn.Module):
    """:func:`kd_loss` with its temperature, T > 0, kept."""

    def __init__(self, T: float = 4.0, t_squared: bool = True) -> None:
        super().__init__()
        self.T = positive("T", T)
        self.t_squared = t_squared

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return kd_loss(student_logits, teacher_logits, self.T, self.t_squared)

    def per_token(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        """T² (ln p − ln q), whose mean under p is the loss."""
        return (log_p - log_q) * (self.T**2 if self.t_squared else 1.0)
