"""Structured knowledge distillation (SKD), its pairwise term: how alike the places of an image are to one another."""

import torch.nn.functional as F
from torch import Tensor, nn

from distill.losses.adapters import as_map
from distill.losses.checks import full_precision, same_samples, whole


def _similarities(f: Tensor, grid: int) -> Tensor:
    """Cosines of all pairs of a map's places, average-pooled to at most grid × grid: (N, P, P)."""
    size = (min(grid, f.shape[2]), min(grid, f.shape[3]))
    places = F.normalize(F.adaptive_avg_pool2d(f, size).flatten(2), dim=1)
    return places.transpose(1, 2) @ places


@full_precision
def skd_loss(student_feature: Tensor, teacher_feature: Tensor, grid: int = 8) -> Tensor:
    """Pairwise distillation: mean over samples and pairs of places of (a_s − a_t)², a the cosine of two places.

    Each map is average-pooled to grid × grid places (or to the size of the smaller one of the two), so that maps of
    different size and channels are compared without an adapter. Memory grows with the fourth power of ``grid``.

    Args:
        student_feature: (N, C_s, H_s, W_s), or tokens.
        teacher_feature: (N, C_t, H_t, W_t), or tokens.
        grid: places per side, at least 1.

    Returns:
        A scalar without unit, between 0 and 4.

    Raises:
        ValueError: grid is below 1, no maps, or different numbers of samples.

    Source: Liu et al. 2019, "Structured Knowledge Distillation for Semantic Segmentation", arXiv:1903.04197, eq. 2.

    Example:
        >>> import torch
        >>> f = torch.rand(1, 3, 4, 4)
        >>> skd_loss(2 * f, f).item() < 1e-9
        True
    """
    whole("grid", grid)
    same_samples(student_feature, teacher_feature)
    student, teacher = as_map(student_feature), as_map(teacher_feature)
    side = min(grid, *student.shape[2:], *teacher.shape[2:])
    return F.mse_loss(_similarities(student, side), _similarities(teacher, side))


class SKD(nn.Module):
    """:func:`skd_loss` of one pair of layers. Nothing is learnt."""

    fixed = ("grid",)

    def __init__(self, grid: int = 8) -> None:
        super().__init__()
        self.grid = whole("grid", grid)

    def forward(self, student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
        return skd_loss(student_feature, teacher_feature, self.grid)
