"""Correlation congruence (CC): MSE between kernel matrices of the samples of a batch."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.losses.checks import full_precision, positive, same_samples, whole, zero
from distill.losses.gather import BatchLoss

KERNELS = ("gaussian", "bilinear")


def _check_kernel(kernel: str, gamma: float, order: int) -> None:
    """A ValueError that names the argument, unless all three are usable."""
    if kernel not in KERNELS:
        raise ValueError(f"kernel must be one of {', '.join(KERNELS)}, got {kernel!r}")
    positive("gamma", gamma)
    whole("order", order)


def _correlations(e: Tensor, kernel: str, gamma: float, order: int) -> Tensor:
    """The kernel of every pair of samples, embeddings L2-normalised: (N, N)."""
    e = F.normalize(e, dim=1)
    cosine = e @ e.T
    if kernel == "bilinear":
        return cosine
    taylor = [(2 * gamma) ** p / math.factorial(p) for p in range(order + 1)]
    total = torch.full_like(cosine, taylor[order])
    for coefficient in reversed(taylor[:order]):
        total = total * cosine + coefficient
    return math.exp(-2 * gamma) * total


@full_precision
def cc_loss(
    student_embedding: Tensor,
    teacher_embedding: Tensor,
    kernel: str = "gaussian",
    gamma: float = 0.4,
    order: int = 2,
) -> Tensor:
    """Correlation congruence: (1/N²) Σ_{ij} (k(s_i, s_j) − k(t_i, t_j))².

    gaussian: k(x, y) = exp(−γ‖x − y‖²) by its Taylor series, e^{−2γ} Σ_{p ≤ order} (2γ)^p / p! · (x·y)^p; bilinear:
    k(x, y) = x·y. Both on L2-normalised embeddings, which the series presumes and which makes embeddings of
    different width and scale comparable.

    Two things in circulation are not done here. A benchmark repository's "CC", from which the weight 0.02 comes, is
    another formula: mean_i Σ_d |s_i − t_i| |s_{i+1} − t_{i+1}| on linear embeddings of both sides. And no linear layer
    is put before the kernel: the matrices are N × N whatever the widths, and a layer learnt on both sides
    would bring the loss to 0 by making all its outputs alike.

    Args:
        student_embedding: (N, D_s); more dimensions are flattened.
        teacher_embedding: (N, D_t).
        kernel: ``gaussian`` or ``bilinear``.
        gamma: γ of the Gaussian, > 0 (paper: 0.4).
        order: of the Taylor series, ≥ 1 (paper: 2).

    Returns:
        A scalar without unit: invariant to rotation and to the length of every single embedding.

    Raises:
        ValueError: an unknown kernel, γ or order out of range, fewer than 2 samples or dimensions, or different
            numbers of samples.

    Source: Peng et al. 2019, "Correlation Congruence for Knowledge Distillation", arXiv:1904.01802, sections 3.2 and
    3.3.

    Example:
        >>> e = torch.tensor([[0.0, 1.0], [1.0, 1.0], [2.0, 0.0]])
        >>> cc_loss(3 * e, e).item() < 1e-12
        True
    """
    _check_kernel(kernel, gamma, order)
    same_samples(student_embedding, teacher_embedding, least=2)
    student = _correlations(student_embedding.flatten(1), kernel, gamma, order)
    return (student - _correlations(teacher_embedding.flatten(1), kernel, gamma, order)).square().mean()


class CC(BatchLoss):
    """:func:`cc_loss` with its settings and ``gather`` of :class:`~distill.losses.gather.BatchLoss` kept.

    A batch of 1 sample has no pair and counts as 0.
    """

    fixed = ("order",)  # no schedule can change it

    def __init__(self, kernel: str = "gaussian", gamma: float = 0.4, order: int = 2, gather: bool = False) -> None:
        super().__init__(gather)
        _check_kernel(kernel, gamma, order)
        self.kernel = kernel
        self.gamma = float(gamma)
        self.order = order

    def forward(self, student_embedding: Tensor, teacher_embedding: Tensor) -> Tensor:
        student_embedding, teacher_embedding = self.whole_batch(student_embedding, teacher_embedding)
        if len(student_embedding) < 2:
            return zero(student_embedding)
        return cc_loss(student_embedding, teacher_embedding, self.kernel, self.gamma, self.order)
