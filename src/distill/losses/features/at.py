"""Attention transfer (AT): MSE between L2-normalised spatial attention maps."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.losses.adapters import as_map, match_size
from distill.losses.checks import at_least, full_precision, same_samples


def _attention(f: Tensor, p: float) -> Tensor:
    """mean_c |f|^p, (N, 1, H, W); the norm makes no tensor of powers."""
    norm: Tensor = torch.linalg.vector_norm(f, ord=p, dim=1, keepdim=True)
    return norm.pow(p) / f.shape[1]


@full_precision
def at_loss(student_feature: Tensor, teacher_feature: Tensor, p: float = 2.0) -> Tensor:
    """Attention transfer: mean over samples and positions of (n(A_s) − n(A_t))².

    A = mean_c |f|^p is the attention map (N, H·W) of a feature map f, n(·) L2-normalises each sample's. Of two maps
    of different size the larger is average-pooled to the smaller: the attention maps, as in the paper (section 3.1),
    not the features, as in later benchmarks. Where no pooling is needed, both are the same.

    The paper writes a sum of norms with the weight β / 2, β = 1000 over the number of elements and samples; its code,
    and this one, is the mean of squares with the weight 1000.

    Args:
        student_feature: f_s, map (N, C_s, H_s, W_s) or tokens (N, L, D), see :func:`~distill.losses.adapters.as_map`.
        teacher_feature: f_t, map (N, C_t, H_t, W_t) or tokens.
        p: exponent, ≥ 1 (below, the gradient at 0 is infinite); the larger, the more the strongest channels count.

    Returns:
        A scalar without unit, at most 2 / (H·W): invariant to the scale of either feature.

    Raises:
        ValueError: p is below 1, different numbers of samples, or a feature that is no map.

    Source: Zagoruyko, Komodakis 2017, "Paying More Attention to Attention", arXiv:1612.03928, eq. 2.

    Example:
        >>> import torch
        >>> at_loss(torch.tensor([[[[3.0, 0.0]]]]), torch.tensor([[[[0.0, 2.0]]]])).item()
        1.0
    """
    at_least("p", p, 1)
    same_samples(student_feature, teacher_feature)
    maps = [_attention(as_map(f), p) for f in (student_feature, teacher_feature)]
    student, teacher = (F.normalize(a.flatten(1), dim=1) for a in match_size(maps[0], maps[1]))
    return F.mse_loss(student, teacher)


class AT(nn.Module):
    """:func:`at_loss` of one pair of layers. Nothing is learnt; channels may differ."""

    def __init__(self, p: float = 2.0) -> None:
        super().__init__()
        self.p = at_least("p", p, 1)

    def forward(self, student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
        return at_loss(student_feature, teacher_feature, self.p)
