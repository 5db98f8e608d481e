"""SimKD feature alignment: MSE before the reused teacher classifier (see ``distill.distillation.simkd``)."""

from torch import Tensor

from distill.losses.adapters import match_size
from distill.losses.checks import full_precision
from distill.losses.features.fitnet import hint_loss


@full_precision
def simkd_loss(student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
    """Feature alignment of SimKD: mean of (f_s − f_t)², the larger map average-pooled to the smaller.

    Args:
        student_feature: f_s, what the projector gives, (N, C, H, W).
        teacher_feature: f_t, the map whose mean the teacher's classifier reads, (N, C, H', W').

    Returns:
        A scalar, in squared units of the features.

    Raises:
        ValueError: different numbers of samples or channels.

    Source: Chen et al. 2022, "Knowledge Distillation with the Reused Teacher Classifier", arXiv:2203.14001.

    Example:
        >>> import torch
        >>> simkd_loss(torch.ones(2, 3, 4, 4), torch.zeros(2, 3, 8, 8)).item()
        1.0
    """
    return hint_loss(*match_size(student_feature, teacher_feature))
