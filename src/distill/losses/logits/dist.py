"""DIST: Pearson correlation between and within classes instead of the KL divergence."""

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.losses.checks import at_least, full_precision, positive, same_shape
from distill.losses.gather import BatchLoss


def _unit(log_p: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Gives p less its mean along ``dim``, of length 1, and where it varies by more than rounding (elsewhere it is 0).

    Scaled by its largest value while still a logarithm: a column of 1e-40 correlates like any other.
    """
    p = (log_p - log_p.detach().amax(dim, keepdim=True)).exp()
    size = p.detach().norm(dim=dim, keepdim=True)
    p = p - p.mean(dim, keepdim=True)
    square = p.square().sum(dim, keepdim=True)
    varies = square.detach().sqrt() > 10 * torch.finfo(p.dtype).eps * size
    return torch.where(varies, p, 0.0) / torch.where(varies, square, 1.0).sqrt(), varies


def _correlation(log_a: Tensor, log_b: Tensor, dim: int) -> Tensor:
    """Mean Pearson correlation along ``dim``; where either does not vary it is 0 and has no gradient."""
    (a, a_varies), (b, b_varies) = _unit(log_a, dim), _unit(log_b, dim)
    return torch.where(a_varies & b_varies, a * b, 0.0).sum(dim).mean()


@full_precision
def dist_loss(
    student_logits: Tensor, teacher_logits: Tensor, beta: float = 1.0, gamma: float = 1.0, T: float = 4.0
) -> Tensor:
    """DIST: T² · [beta · (1 − mean_i ρ_i) + gamma · (1 − mean_k ρ_k)], ρ Pearson correlations of softmax(z / T).

    ρ_i is that of student and teacher over the classes of sample i (the row), ρ_k over the samples of the batch for
    class k (the column). A row or column that does not vary has no correlation: it counts as 0 and gives no gradient
    (a classifier that starts at zero moves by the other losses first). The authors' code adds 1e-8 to the product of
    the two lengths instead, which also fades out the columns of all classes that the batch does not hold, and makes
    the loss of equal logits differ from 0.

    Args:
        student_logits: shape (N, C), C ≥ 2.
        teacher_logits: shape (N, C).
        beta: weight of the rows (relations between classes), ≥ 0 (paper: 1).
        gamma: weight of the columns (relations between samples), ≥ 0 (paper: 1); 0 allows N = 1.
        T: temperature, > 0 (paper: 4 on CIFAR-100, 1 on ImageNet).

    Returns:
        A scalar between 0 and 2 · T² · (beta + gamma), without unit.

    Raises:
        ValueError: T is not above 0, beta or gamma is below 0, the shapes differ, C < 2, or N < 2 with gamma above 0.

    Source: Huang et al. 2022, "Knowledge Distillation from A Stronger Teacher", arXiv:2205.10536; the factor T² is that
    of the authors' code.

    Example:
        >>> z = torch.tensor([[1.0, 2.0, 0.0], [3.0, 1.0, 0.0]])
        >>> dist_loss(z, z).item() < 1e-5
        True
    """
    positive("T", T)
    at_least("beta", beta)
    at_least("gamma", gamma)
    same_shape(student_logits, teacher_logits, "student_logits", "teacher_logits", dims=2)
    n, classes = student_logits.shape
    if classes < 2:
        raise ValueError(f"a correlation over classes needs at least 2 of them, got {classes}")
    if n < 2 and gamma > 0:
        raise ValueError(f"a correlation over samples (gamma above 0) needs at least 2 in a batch, got {n}")
    s, t = F.log_softmax(student_logits / T, dim=1), F.log_softmax(teacher_logits / T, dim=1)
    loss = beta * (1 - _correlation(s, t, dim=1))
    if gamma > 0:
        loss = loss + gamma * (1 - _correlation(s, t, dim=0))
    return loss * T**2


class DIST(BatchLoss):
    """:func:`dist_loss` with its settings and ``gather`` of :class:`~distill.losses.gather.BatchLoss` kept.

    In a batch of 1 sample the columns count as 0.
    """

    compares_rows = True

    def __init__(self, beta: float = 1.0, gamma: float = 1.0, T: float = 4.0, gather: bool = False) -> None:
        super().__init__(gather)
        self.beta = at_least("beta", beta)
        self.gamma = at_least("gamma", gamma)
        self.T = positive("T", T)

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        student_logits, teacher_logits = self.whole_batch(student_logits, teacher_logits)
        gamma = self.gamma if len(student_logits) >= 2 else 0.0
        return dist_loss(student_logits, teacher_logits, self.beta, gamma, self.T)
