"""Similarity-preserving distillation (SP): MSE between row-normalised batch similarity matrices."""

import torch.nn.functional as F
from torch import Tensor

from distill.losses.checks import full_precision, same_samples, zero
from distill.losses.gather import BatchLoss


def _similarity(f: Tensor) -> Tensor:
    """F·Fᵀ of the flattened features, its rows L2-normalised: (N, N)."""
    return F.normalize(f @ f.T, dim=1)


@full_precision
def sp_loss(student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
    """Similarity-preserving loss: ‖G_s − G_t‖²_F / N², G = F·Fᵀ with every row L2-normalised.

    Args:
        student_feature: (N, ...), flattened to F (N, D_s).
        teacher_feature: (N, ...), of any shape.

    Returns:
        A scalar without unit: invariant to rotation and to one common scale of the features.

    Raises:
        ValueError: fewer than 2 samples or dimensions, or different numbers of samples.

    Source: Tung and Mori 2019, "Similarity-Preserving Knowledge Distillation", arXiv:1907.09682, section 3.

    Example:
        >>> import torch
        >>> f = torch.tensor([[0.0, 1.0], [1.0, 1.0], [2.0, 0.0]])
        >>> sp_loss(3 * f, f).item() < 1e-12
        True
    """
    same_samples(student_feature, teacher_feature, least=2)
    return (_similarity(student_feature.flatten(1)) - _similarity(teacher_feature.flatten(1))).square().mean()


class SP(BatchLoss):
    """:func:`sp_loss` at one layer; a batch of 1 sample has no pair and counts as 0.

    Any two layers go together (maps, tokens, vectors): only their N × N matrices are compared, and no adapter is
    learnt. Several pairs of layers are summed. With ``gather`` the processes exchange whole maps.
    """

    def forward(self, student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
        student_feature, teacher_feature = self.whole_batch(student_feature, teacher_feature)
        if len(student_feature) < 2:
            return zero(student_feature)
        return sp_loss(student_feature, teacher_feature)
