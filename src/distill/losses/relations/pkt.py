"""Probabilistic knowledge transfer (PKT): KL divergence between cosine-similarity distributions over a batch."""

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.losses.checks import full_precision, same_samples, zero
from distill.losses.gather import BatchLoss

EPS = 1e-7


def _probabilities(e: Tensor) -> Tensor:
    """(cos + 1) / 2 of every pair, each row over its sum: (N, N)."""
    e = F.normalize(e, dim=1, eps=EPS)
    similarity = ((e @ e.T + 1) / 2).clamp(min=0)
    return similarity / similarity.sum(dim=1, keepdim=True)


@full_precision
def pkt_loss(student_embedding: Tensor, teacher_embedding: Tensor) -> Tensor:
    """Probabilistic knowledge transfer: mean_{ij} p_t(j|i) · ln(p_t(j|i) / p_s(j|i)).

    p(j|i) = k(i, j) / Σ_j k(i, j) with k = (cos + 1) / 2. As in the authors' code, the sum takes in j = i (the paper
    leaves it out), the mean is over all N² pairs (N times less than a mean of the rows' divergences: hence the
    large weight), and 1e-7 is added to both probabilities inside the logarithm.

    Args:
        student_embedding: (N, D_s); more dimensions are flattened.
        teacher_embedding: (N, D_t).

    Returns:
        A scalar in nats per pair: invariant to rotation and to the length of every single embedding.

    Raises:
        ValueError: fewer than 2 samples or dimensions, or different numbers of samples.

    Source: Passalis and Tefas 2018, "Learning Deep Representations with Probabilistic Knowledge Transfer",
    arXiv:1803.10837, section 3.

    Example:
        >>> e = torch.tensor([[0.0, 1.0], [1.0, 1.0], [2.0, 0.0]])
        >>> pkt_loss(3 * e, e).item() < 1e-7
        True
    """
    same_samples(student_embedding, teacher_embedding, least=2)
    p_s, p_t = _probabilities(student_embedding.flatten(1)), _probabilities(teacher_embedding.flatten(1))
    return (p_t * (torch.log(p_t + EPS) - torch.log(p_s + EPS))).mean()


class PKT(BatchLoss):
    """:func:`pkt_loss` on embeddings; a batch of 1 sample has no pair and counts as 0."""

    def forward(self, student_embedding: Tensor, teacher_embedding: Tensor) -> Tensor:
        student_embedding, teacher_embedding = self.whole_batch(student_embedding, teacher_embedding)
        if len(student_embedding) < 2:
            return zero(student_embedding)
        return pkt_loss(student_embedding, teacher_embedding)
