"""Decoupled knowledge distillation (DKD): target-class and non-target-class KL divergence, weighted apart."""

import torch.nn.functional as F
from torch import Tensor, nn

from distill.losses.checks import at_least, full_precision, positive, same_shape
from distill.losses.logits.labels import check_labels, non_target_classes


@full_precision
def dkd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor,
    alpha: float = 1.0,
    beta: float = 8.0,
    T: float = 4.0,
) -> Tensor:
    """Decoupled distillation: T² · mean_N [alpha · KL(b_t ‖ b_s) + beta · KL(q_t ‖ q_s)].

    b = (p_y, 1 − p_y) is the target class y against the rest, q the softmax over the non-target classes alone, both at
    temperature T. KD is the case alpha = 1, beta = 1 − p_y of the teacher: where the teacher is sure, KD tells next to
    nothing about the non-target classes; beta does not depend on it.

    Args:
        student_logits: z_s, shape (N, C), C ≥ 2 (with 2 classes the second part is 0).
        teacher_logits: z_t, shape (N, C).
        target: y, shape (N,), int64.
        alpha: weight of the target class against the rest, ≥ 0 (paper: 1).
        beta: weight of the non-target classes, ≥ 0 (authors: 8, 6 or 2 by the pair; 0.5 on ImageNet).
        T: temperature, > 0 (paper: 4).

    Returns:
        A scalar ≥ 0 in nats per sample × T², the mean over the batch (one public implementation sums over it).

    Raises:
        ValueError: T is not above 0, alpha or beta is below 0, or the shapes are not as above.

    Source: Zhao et al. 2022, "Decoupled Knowledge Distillation", arXiv:2203.08679, eq. 7.

    Example:
        >>> import torch
        >>> dkd_loss(torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([1])).item()
        0.0
    """
    positive("T", T)
    at_least("alpha", alpha)
    at_least("beta", beta)
    same_shape(student_logits, teacher_logits, "student_logits", "teacher_logits", dims=2)
    check_labels(student_logits, target)
    s, t = student_logits / T, teacher_logits / T
    rest_s, log_q_s = non_target_classes(s, target)
    rest_t, log_q_t = non_target_classes(t, target)
    odds_s = s.gather(1, target[:, None]).squeeze(1) - rest_s  # ln p_y / (1 − p_y)
    odds_t = t.gather(1, target[:, None]).squeeze(1) - rest_t
    binary = odds_t.sigmoid() * (F.logsigmoid(odds_t) - F.logsigmoid(odds_s))
    binary = binary + (-odds_t).sigmoid() * (F.logsigmoid(-odds_t) - F.logsigmoid(-odds_s))
    others = (log_q_t.exp() * (log_q_t - log_q_s)).sum(dim=1)
    return (alpha * binary + beta * others).mean() * T**2


class DKD(nn.Module):
    """:func:`dkd_loss` with its settings kept."""

    def __init__(self, alpha: float = 1.0, beta: float = 8.0, T: float = 4.0) -> None:
        super().__init__()
        self.alpha = at_least("alpha", alpha)
        self.beta = at_least("beta", beta)
        self.T = positive("T", T)

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, target: Tensor) -> Tensor:
        return dkd_loss(student_logits, teacher_logits, target, self.alpha, self.beta, self.T)
