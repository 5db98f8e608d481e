"""Inter-channel correlation (ICKD): MSE between the channels' normalised Gram matrices."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from distill.losses.adapters import adapter, as_map, map_shapes, normalisable
from distill.losses.checks import full_precision, same_samples, zero


def _correlation(f: Tensor) -> Tensor:
    """F·Fᵀ over space per sample, rows L2-normalised: (N, C, C)."""
    f = f.flatten(2)
    return F.normalize(f @ f.transpose(1, 2), dim=2)


@full_precision
def ickd_loss(student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
    """Inter-channel correlation: Σ_{n,i,j} (G_s − G_t)² / (N·C), G (C × C) = F·Fᵀ over space, rows L2-normalised.

    The paper divides the squared difference of the plain inner products by C²; the authors' code, from which the
    weight comes, L2-normalises every row of G and divides by C. This follows the code: without the normalisation the
    scale would be that of the features' fourth power.

    Args:
        student_feature: (N, C, ...), adapted to the teacher's channels.
        teacher_feature: (N, C, ...), of any height and width.

    Returns:
        A scalar without unit, between 0 and 4: the mean squared distance of two unit vectors. Invariant to a
        common scale of each sample's features and to any rearrangement of the positions.

    Raises:
        ValueError: no positions (two dimensions), different numbers of samples or of channels.

    Source: Liu et al. 2021, "Exploring Inter-Channel Correlation for Diversity-preserved Knowledge Distillation", ICCV
    2021, arXiv:2202.03680 (ICKD-C).

    Example:
        >>> import torch
        >>> f = torch.eye(2).reshape(1, 2, 1, 2)
        >>> ickd_loss(3 * f, f).item()
        0.0
    """
    same_samples(student_feature, teacher_feature)
    if min(student_feature.dim(), teacher_feature.dim()) < 3 or student_feature.shape[1] != teacher_feature.shape[1]:
        raise ValueError(
            "student_feature and teacher_feature must be maps (N, C, ...) of as many channels, "
            f"got {tuple(student_feature.shape)} and {tuple(teacher_feature.shape)}"
        )
    difference = _correlation(student_feature) - _correlation(teacher_feature)
    return difference.square().sum(dim=2).mean()


class ICKD(nn.Module):
    """:func:`ickd_loss` through an adapter (1×1 convolution, BatchNorm) trained with the student.

    The maps may differ in size: only their C × C matrices are compared. Tokens become maps, without the prefix tokens.
    Nothing is compared across the batch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.adapter: nn.Module = nn.Identity()

    def build(self, student_feature: Sequence[int], teacher_feature: Sequence[int]) -> None:
        self.adapter = adapter(*map_shapes(student_feature, teacher_feature), relu=False)

    def forward(self, student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
        student = as_map(student_feature)
        if self.training and not normalisable(student):
            return zero(student)
        return ickd_loss(self.adapter(student), as_map(teacher_feature))
