"""Teacher-free knowledge distillation (Tf-KD): KL divergence to a hand-designed virtual teacher."""

import math

from torch import Tensor, nn

from distill.losses.checks import full_precision, positive
from distill.losses.logits.kd import kd_loss
from distill.losses.logits.labels import check_labels, target_mask


def _probability(a: float) -> float:
    """``a`` if it lies between 0 and 1."""
    if not 0 < a < 1:
        raise ValueError(f"a must lie between 0 and 1, got {a}")
    return float(a)


@full_precision
def tfkd_loss(
    student_logits: Tensor, target: Tensor, a: float = 0.99, T: float = 20.0, t_squared: bool = True
) -> Tensor:
    """Tf-KD by a designed teacher: T² · mean_N KL(σ_T(ln p_d) ‖ softmax(z_s / T)).

    p_d is a on the target class and (1 − a) / (C − 1) on each other one; σ_T(ln p_d) = p_d^(1/T) / Σ p_d^(1/T) softens
    it as a temperature softens a teacher's output. This is eq. 9 of the paper, with the factor T² that keeps the
    scale of the gradient for every T, as in KD (at T = 20 the plain divergence does next to nothing).

    The authors' code does something else: it takes the softmax of p_d / T (of the probabilities, not of their
    logarithms), which at T = 20 is nearly uniform, leaves the student at temperature 1, and multiplies by 100 a mean
    over samples and classes, which for the 100 classes of CIFAR-100 is the mean over samples. That is label smoothing
    by its α: ``kd.label_smoothing=0.1``.

    Args:
        student_logits: z_s, shape (N, C), C ≥ 2.
        target: shape (N,), int64.
        a: probability of the target class, between 0 and 1 (paper: 0.99).
        T: temperature, > 0 (paper: 20, and 40 for some models).
        t_squared: multiply by T². False leaves the bare divergence.

    Returns:
        A scalar ≥ 0 in nats per sample (× T²).

    Raises:
        ValueError: a does not lie between 0 and 1, T is not above 0, or the shapes are not as above.

    Source: Yuan et al. 2020, "Revisiting Knowledge Distillation via Label Smoothing Regularization", arXiv:1909.11723,
    eq. 8 and 9.

    Example:
        >>> import torch
        >>> virtual = torch.tensor([[0.98, 0.01, 0.01]]).log()
        >>> abs(tfkd_loss(virtual, torch.tensor([0]), a=0.98).item()) < 1e-4
        True
    """
    _probability(a)
    check_labels(student_logits, target)
    others = math.log1p(-a) - math.log(student_logits.shape[1] - 1)
    virtual = target_mask(student_logits, target).to(student_logits.dtype) * (math.log(a) - others)
    return kd_loss(student_logits, virtual, T, t_squared)


class TfKD(nn.Module):
    """:func:`tfkd_loss` with its settings kept: a soft loss that needs no teacher."""

    is_soft_target = True

    def __init__(self, a: float = 0.99, T: float = 20.0, t_squared: bool = True) -> None:
        super().__init__()
        self.a = _probability(a)
        self.T = positive("T", T)
        self.t_squared = t_squared

    def forward(self, student_logits: Tensor, target: Tensor) -> Tensor:
        return tfkd_loss(student_logits, target, self.a, self.T, self.t_squared)
