"""Adapters: trained beside the student, they bring its features to the teacher's width."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


def match_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Average-pools the larger of two maps (N, C, H, W) to the smaller one's H × W; other tensors as they are."""
    if student.dim() != 4 or student.shape[2:] == teacher.shape[2:]:
        return student, teacher
    size = (min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3]))

    def pooled(x: Tensor) -> Tensor:
        return x if x.shape[2:] == size else F.adaptive_avg_pool2d(x, size)

    return pooled(student), pooled(teacher)


def adapter(student: Sequence[int], teacher: Sequence[int], relu: bool = True) -> nn.Module:
    """A module that maps features of the student's shape to the teacher's number of channels.

    Maps (N, C, H, W): 1×1 convolution, BatchNorm and, if asked, ReLU. Tokens (N, L, D) and vectors (N, D):
    linear, LayerNorm and, if asked, ReLU.

    Args:
        student: shape of the student's features, batch axis first.
        teacher: shape of the teacher's features, batch axis first.
        relu: end with a ReLU, as the teacher's features do that come out of one.

    Raises:
        ValueError: the two kinds of features cannot be matched; both shapes are shown.
    """
    s, t = tuple(student), tuple(teacher)
    if len(s) == len(t) == 4:
        layers: list[nn.Module] = [nn.Conv2d(s[1], t[1], kernel_size=1, bias=False), nn.BatchNorm2d(t[1])]
    elif len(s) == len(t) == 2 or (len(s) == len(t) == 3 and s[1] == t[1]):
        layers = [nn.Linear(s[-1], t[-1], bias=False), nn.LayerNorm(t[-1])]
    else:
        raise ValueError(
            f"features of shape {s} (student) and {t} (teacher) cannot be matched: "
            "both must be maps (N, C, H, W), tokens (N, L, D) of one length, or vectors (N, D)"
        )
    return nn.Sequential(*layers, *([nn.ReLU()] if relu else []))
