"""Probabilistic knowledge transfer (PKT): KL divergence between cosine-similarity distributions over a batch."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.losses.checks import full_precision, same_samples, upcast
from distill.losses.gather import gather

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

    Source:
        Passalis and Tefas 2018, "Learning Deep Representations with Probabilistic Knowledge Transfer",
        arXiv:1803.10837, section 3.

    Example:
        >>> e = torch.tensor([[0.0, 1.0], [1.0, 1.0], [2.0, 0.0]])
        >>> pkt_loss(3 * e, e).item() < 1e-7
        True
    """
    same_samples(student_embedding, teacher_embedding, least=2)
    p_s, p_t = _probabilities(student_embedding.flatten(1)), _probabilities(teacher_embedding.flatten(1))
    return (p_t * (torch.log(p_t + EPS) - torch.log(p_s + EPS))).mean()


class PKT(nn.Module):
    """:func:`pkt_loss` on embeddings; a batch of 1 sample has no pair and counts as 0.

    Args:
        gather: compare across processes; see :func:`distill.losses.gather.gather`.
    """

    def __init__(self, gather: bool = False) -> None:
        super().__init__()
        self.gather = gather

    def forward(self, student_embedding: Tensor, teacher_embedding: Tensor) -> Tensor:
        if self.gather and self.training:
            student_embedding, teacher_embedding = gather(student_embedding), gather(teacher_embedding)
        if len(student_embedding) < 2:
            return upcast(student_embedding).sum() * 0.0
        return pkt_loss(student_embedding, teacher_embedding)
