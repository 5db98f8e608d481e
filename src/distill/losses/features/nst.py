"""Neuron selectivity transfer (NST): maximum mean discrepancy between the channels' activation patterns."""

import torch.nn.functional as F
from torch import Tensor, nn

from distill.losses.adapters import as_map, match_size
from distill.losses.checks import full_precision, same_samples


@full_precision
def nst_loss(student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
    """Neuron selectivity transfer: mean over samples of the squared MMD between the two sets of channels.

    MMD² = mean_ij k(s_i, s_j) + mean_ij k(t_i, t_j) − 2 mean_ij k(s_i, t_j), k(a, b) = (aᵀb)², where s_i, t_j are
    channels, flattened and L2-normalised over the positions. The larger of two maps is average-pooled.

    With S (C_s × P) the student's channels over the P = H·W positions, Σ_ij (s_iᵀt_j)² = ⟨SᵀS, TᵀT⟩, hence
    MMD² = ‖SᵀS / C_s − TᵀT / C_t‖²: P × P instead of C × C products. Whichever form holds fewer numbers is computed.
    That of the channels can fall below 0 by rounding.

    Args:
        student_feature: map (N, C_s, H_s, W_s) or tokens (N, L, D), see :func:`~distill.losses.adapters.as_map`.
        teacher_feature: map (N, C_t, H_t, W_t) or tokens.

    Returns:
        A scalar without unit, ≥ 0: invariant to the order, sign and scale of the channels of either side.

    Raises:
        ValueError: different numbers of samples, or a feature that is no map.

    Source: Huang, Wang 2017, "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer", arXiv:1707.01219:
    the polynomial kernel with d = 2, c = 0. The paper has λ / 2 in front; the weight of a term here is all of it.

    Example:
        >>> import torch
        >>> nst_loss(torch.tensor([[[[3.0, 0.0]]]]), torch.tensor([[[[0.0, 2.0]]]])).item()
        2.0
    """
    same_samples(student_feature, teacher_feature)
    student, teacher = (
        F.normalize(f.flatten(2), dim=2) for f in match_size(as_map(student_feature), as_map(teacher_feature))
    )
    c_s, c_t, positions = student.shape[1], teacher.shape[1], student.shape[2]
    if 2 * positions**2 <= c_s**2 + c_t**2 + c_s * c_t:
        difference = student.mT @ student / c_s - teacher.mT @ teacher / c_t
        return difference.square().sum(dim=(1, 2)).mean()
    within = (student @ student.mT).square().mean() + (teacher @ teacher.mT).square().mean()
    return within - 2 * (student @ teacher.mT).square().mean()


class NST(nn.Module):
    """:func:`nst_loss` of one pair of layers. Nothing is set or learnt; channels may differ."""

    def forward(self, student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
        return nst_loss(student_feature, teacher_feature)
