"""Flow of solution procedure (FSP): MSE between Gram matrices of the features of adjacent stages."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.losses.adapters import as_map, map_shapes, match_size
from distill.losses.checks import full_precision, same_samples, same_stages


def _check(student: Sequence[Sequence[int]], teacher: Sequence[Sequence[int]]) -> None:
    """A ValueError unless these are shapes of at least 2 stages of equal channels."""
    same_stages("FSP", student, teacher, least=2)
    for s, t in zip(student, teacher, strict=True):
        (_, c_s, *_), (_, c_t, *_) = map_shapes(s, t)
        if c_s != c_t:
            raise ValueError(
                "FSP needs as many channels in the student's stages as in the teacher's, "
                f"got {tuple(s)} (student) and {tuple(t)} (teacher)"
            )


def _flow(shallow: Tensor, deep: Tensor) -> Tensor:
    """G (N, C_1, C_2): mean over the positions of the products of two layers' channels."""
    a, b = (f.flatten(2) for f in match_size(as_map(shallow), as_map(deep)))
    return a @ b.mT / a.shape[2]


@full_precision
def fsp_loss(student_features: Sequence[Tensor], teacher_features: Sequence[Tensor]) -> Tensor:
    """Flow of solution procedure: Σ_l mean (G_s,l − G_t,l)², G_l = 1/(H·W) Σ_hw f_l(h, w) f_{l+1}(h, w)ᵀ.

    The sum goes over adjacent stages l, l + 1, the mean over samples and the C_l × C_{l+1} elements. Where the two
    maps of one network differ in size, the larger is average-pooled to the smaller (the paper's pairs are of one
    size). Student and teacher may differ in size, as G does not depend on it. The paper sums over the elements and
    leaves the weights λ_l open, all equal; the mean, as in the field's benchmark, makes layers of any width comparable.

    Args:
        student_features: at least 2, shallow to deep, each a map (N, C_l, H, W) or tokens (N, L, C_l).
        teacher_features: as many, of the same channels C_l.

    Returns:
        A scalar, in units of the features to the fourth power.

    Raises:
        ValueError: fewer than 2 stages, different numbers of stages, channels or samples, or features that are no maps.

    Source: Yim et al. 2017, "A Gift from Knowledge Distillation", CVPR 2017, eq. 1 and 2.

    Example:
        >>> import torch
        >>> fsp_loss([torch.ones(1, 2, 4, 4)] * 2, [torch.zeros(1, 2, 4, 4)] * 2).item()
        1.0
    """
    _check([f.shape for f in student_features], [f.shape for f in teacher_features])
    losses = []
    for i in range(len(student_features) - 1):
        same_samples(student_features[i], teacher_features[i])
        student = _flow(student_features[i], student_features[i + 1])
        losses.append(F.mse_loss(student, _flow(teacher_features[i], teacher_features[i + 1])))
    return torch.stack(losses).sum()


class FSP(nn.Module):
    """:func:`fsp_loss`, its shapes checked before training. Nothing is learnt.

    The method trains the student by this loss alone at first, and by cross-entropy alone afterwards.
    """

    def build(self, student_features: Sequence[Sequence[int]], teacher_features: Sequence[Sequence[int]]) -> None:
        _check(student_features, teacher_features)

    def forward(self, student_features: Sequence[Tensor], teacher_features: Sequence[Tensor]) -> Tensor:
        return fsp_loss(student_features, teacher_features)
