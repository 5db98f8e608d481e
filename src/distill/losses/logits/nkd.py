"""Normalised knowledge distillation (NKD): target-class and normalised non-target cross-entropy."""

import torch.nn.functional as F
from torch import Tensor, nn

from distill.losses.checks import at_least, full_precision, positive, same_shape
from distill.losses.logits.labels import check_labels, non_target_classes


@full_precision
def nkd_loss(
    student_logits: Tensor, teacher_logits: Tensor, target: Tensor, gamma: float = 1.5, T: float = 1.0
) -> Tensor:
    """Normalised distillation: mean_N [−p_t(y) · ln p_s(y) + gamma · T² · H(q_t, q_s)].

    p is the softmax at temperature 1, y the target class, q the softmax over the non-target classes at temperature T,
    H(q_t, q_s) = −Σ_{k≠y} q_t(k) ln q_s(k). A cross-entropy, not a divergence: its least value is not 0.

    The authors' code (at least in one published state) leaves out no class where it means to leave out the right one;
    here the sums are those of the paper.

    Args:
        student_logits: shape (N, C), C ≥ 2 (with 2 classes the second part is 0).
        teacher_logits: shape (N, C).
        target: y, shape (N,), int64.
        gamma: weight of the non-target classes, ≥ 0 (paper: 1.5).
        T: temperature of the non-target classes, > 0 (paper: 1).

    Returns:
        A scalar ≥ 0 in nats per sample (the second part × T²).

    Raises:
        ValueError: T is not above 0, gamma is below 0, or the shapes are not as above.

    Source: Yang et al. 2023, "From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach with
    Normalized Loss and Customized Soft Labels", arXiv:2303.13005.

    Example:
        >>> import torch
        >>> z = torch.tensor([[0.0, 0.0, 0.0]])
        >>> round(nkd_loss(z, z, torch.tensor([0]), gamma=1.0).item(), 4)  # ln 3 / 3 + ln 2
        1.0594
    """
    positive("T", T)
    at_least("gamma", gamma)
    same_shape(student_logits, teacher_logits, "student_logits", "teacher_logits", dims=2)
    check_labels(student_logits, target)
    log_s = F.log_softmax(student_logits, dim=1).gather(1, target[:, None]).squeeze(1)
    p_t = F.softmax(teacher_logits, dim=1).gather(1, target[:, None]).squeeze(1)
    _, log_q_s = non_target_classes(student_logits / T, target)
    _, log_q_t = non_target_classes(teacher_logits / T, target)
    others = -(log_q_t.exp() * log_q_s).sum(dim=1)
    return (gamma * T**2 * others - p_t * log_s).mean()


class NKD(nn.Module):
    """:func:`nkd_loss` with its settings kept."""

    def __init__(self, gamma: float = 1.5, T: float = 1.0) -> None:
        super().__init__()
        self.gamma = at_least("gamma", gamma)
        self.T = positive("T", T)

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, target: Tensor) -> Tensor:
        return nkd_loss(student_logits, teacher_logits, target, self.gamma, self.T)
