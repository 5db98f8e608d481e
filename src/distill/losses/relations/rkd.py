"""Relational knowledge distillation (RKD): Huber loss between pairwise distances and triplet angles."""

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.losses.checks import at_least, full_precision, same_samples, whole, zero
from distill.losses.gather import BatchLoss

EPS = 1e-12
MAX_SAMPLES = 512  # 512³ float32 numbers are 0.5 GiB


def _distances(e: Tensor) -> Tensor:
    """Euclidean distances (N, N) over their mean off the diagonal. cdist's gradient is 0, not NaN, at distance 0."""
    distance = torch.cdist(e, e, compute_mode="donot_use_mm_for_euclid_dist")
    pairs = len(e) * (len(e) - 1)
    return distance / (distance.sum() / pairs).clamp(min=EPS)


def _angles(e: Tensor) -> Tensor:
    """Cosines (N, N, N) of the angle at i between j and k."""
    difference = F.normalize(e[None, :, :] - e[:, None, :], dim=2, eps=EPS)
    return difference @ difference.transpose(1, 2)


@full_precision
def rkd_distance(student_embedding: Tensor, teacher_embedding: Tensor) -> Tensor:
    """Distance-wise relational loss: mean_{ij} SmoothL1(d_s(i,j), d_t(i,j)), d over its mean in the batch.

    The mean over all N² pairs counts the diagonal, whose difference is 0.

    Args:
        student_embedding: (N, D_s); more dimensions are flattened.
        teacher_embedding: (N, D_t).

    Returns:
        A scalar without unit: invariant to rotation, shift and scale of either embedding.

    Raises:
        ValueError: fewer than 2 samples or dimensions, or different numbers of samples.

    Source: Park et al. 2019, "Relational Knowledge Distillation", arXiv:1904.05068, eq. 5 and 6.

    Example:
        >>> e = torch.tensor([[0.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
        >>> rkd_distance(3 * e, e).item() < 1e-12
        True
    """
    same_samples(student_embedding, teacher_embedding, least=2)
    return F.smooth_l1_loss(_distances(student_embedding.flatten(1)), _distances(teacher_embedding.flatten(1)))


@full_precision
def rkd_angle(student_embedding: Tensor, teacher_embedding: Tensor, max_samples: int = MAX_SAMPLES) -> Tensor:
    """Angle-wise relational loss: mean_{ijk} SmoothL1(cos∠_s(i,j,k), cos∠_t(i,j,k)).

    Holds two tensors of N³ and two of N²·D elements, and as many again for the gradient: at the bound of 512 samples
    and D = 512, 8 tensors of 0.5 GiB.

    Args:
        student_embedding: (N, D_s); more dimensions are flattened.
        teacher_embedding: (N, D_t).
        max_samples: the most samples that are compared; memory grows with its cube.

    Returns:
        A scalar without unit: invariant to rotation, shift and scale of either embedding.

    Raises:
        ValueError: fewer than 3 samples or 2 dimensions, more than ``max_samples``, or different numbers of samples.

    Source: Park et al. 2019, "Relational Knowledge Distillation", arXiv:1904.05068, eq. 7 and 8.

    Example:
        >>> e = torch.tensor([[0.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
        >>> rkd_angle(3 * e, e).item() < 1e-12
        True
    """
    same_samples(student_embedding, teacher_embedding, least=3)
    if (n := len(student_embedding)) > max_samples:
        raise ValueError(
            f"the angles of {n} samples are {n}^3 numbers: at most max_samples={max_samples} samples in a batch; "
            "raise it, or set angle=0"
        )
    return F.smooth_l1_loss(_angles(student_embedding.flatten(1)), _angles(teacher_embedding.flatten(1)))


class RKD(BatchLoss):
    """distance · :func:`rkd_distance` + angle · :func:`rkd_angle`, on embeddings; the teacher's takes no gradient.

    A batch of fewer than 3 samples has no triplet (fewer than 2, no pair): such a part counts as 0.

    Args:
        distance: weight of the distances, ≥ 0 (paper: 25).
        angle: weight of the angles, ≥ 0 (paper: 50).
        gather: see :class:`~distill.losses.gather.BatchLoss`.
        max_samples: bound on N for the angles, ≥ 1, which take N³ numbers; see :func:`rkd_angle`.
    """

    fixed = ("max_samples",)  # no schedule can change it

    def __init__(
        self, distance: float = 25.0, angle: float = 50.0, gather: bool = False, max_samples: int = MAX_SAMPLES
    ) -> None:
        super().__init__(gather)
        self.distance = at_least("distance", distance)
        self.angle = at_least("angle", angle)
        self.max_samples = whole("max_samples", max_samples)

    @property
    def largest_batch(self) -> int | None:
        """The most samples it takes; None: any number, as the distances alone do."""
        return self.max_samples if self.angle else None

    def forward(self, student_embedding: Tensor, teacher_embedding: Tensor) -> Tensor:
        student_embedding, teacher_embedding = self.whole_batch(student_embedding, teacher_embedding)
        loss = zero(student_embedding)
        if self.distance and len(student_embedding) >= 2:
            loss = loss + self.distance * rkd_distance(student_embedding, teacher_embedding)
        if self.angle and len(student_embedding) >= 3:
            loss = loss + self.angle * rkd_angle(student_embedding, teacher_embedding, self.max_samples)
        return loss
