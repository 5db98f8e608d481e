"""Variational information distillation (VID): Gaussian negative log-likelihood of the teacher's features."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.losses.adapters import adapt, as_map, map_shapes, match_size
from distill.losses.checks import full_precision, positive, same_shape, whole

EPS = 1e-5


@full_precision
def vid_loss(mean: Tensor, teacher_feature: Tensor, variance: Tensor) -> Tensor:
    """Negative log-likelihood of a Gaussian: mean of ½ [(f_t − μ)² / σ² + ln σ²] over all elements.

    Without the constant ½ ln 2π, so it can be negative. Minimised over σ_c², it is ½ (1 + ln of the channel's mean
    squared error): a channel that the student cannot predict gets a large variance and a small weight.

    The paper sums over the elements; the mean is that of the field's benchmark, whose weight is 1.

    Args:
        mean: μ, what the student's features predict, (N, C, ...).
        teacher_feature: f_t, of the same shape.
        variance: σ², (C,), > 0. What lies below 1e-5 counts as 1e-5: to refuse it would mean to wait for the device.

    Returns:
        A scalar in nats per element.

    Raises:
        ValueError: the shapes differ, or there is not one variance per channel.

    Source: Ahn et al. 2019, "Variational Information Distillation for Knowledge Transfer", arXiv:1904.05835.

    Example:
        >>> vid_loss(torch.zeros(1, 2), torch.ones(1, 2), torch.ones(2)).item()
        0.5
    """
    same_shape(mean, teacher_feature, "mean", "teacher_feature")
    if variance.shape != mean.shape[1:2]:
        raise ValueError(
            f"variance must have one value per channel of {tuple(mean.shape)}, got {tuple(variance.shape)}"
        )
    per_channel = variance.clamp(min=EPS).reshape(-1, *[1] * (mean.dim() - 2))
    return 0.5 * ((teacher_feature - mean).square() / per_channel + per_channel.log()).mean()


class VID(nn.Module):
    """:func:`vid_loss` with a regressor μ(f_s) and one variance per channel of the teacher, trained with the student.

    μ is three 1×1 convolutions without bias, with a ReLU between them (no BatchNorm), as in the authors' code;
    σ² = softplus(a) + 1e-5. Tokens become maps, vectors 1×1 maps; where maps differ in size, the larger is
    average-pooled to the smaller.

    Args:
        variance: every σ² at the start, above 1e-5 (the authors' code: 5).
        hidden: channels between the convolutions, ≥ 1; None: as many as the teacher's.
    """

    fixed = ("variance", "hidden")  # no schedule can change them

    a: nn.Parameter

    def __init__(self, variance: float = 5.0, hidden: int | None = None) -> None:
        super().__init__()
        self.variance = positive("variance", variance)
        if self.variance <= EPS:
            raise ValueError(f"variance must be above {EPS}, got {variance}")
        self.hidden = None if hidden is None else whole("hidden", hidden)
        self.regressor: nn.Module = nn.Identity()

    def build(self, student_feature: Sequence[int], teacher_feature: Sequence[int]) -> None:
        s, t = tuple(student_feature), tuple(teacher_feature)
        c_s, c_t = (s[1], t[1]) if len(s) == len(t) == 2 else (shape[1] for shape in map_shapes(s, t))
        width = self.hidden or c_t
        self.regressor = nn.Sequential(
            nn.Conv2d(c_s, width, kernel_size=1, bias=False),
            nn.ReLU(),
            nn.Conv2d(width, width, kernel_size=1, bias=False),
            nn.ReLU(),
            nn.Conv2d(width, c_t, kernel_size=1, bias=False),
        )
        start = self.variance - EPS
        self.a = nn.Parameter(torch.full((c_t,), start + math.log(-math.expm1(-start))))  # softplus(a) = start

    def forward(self, student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
        pair = [f[:, :, None, None] if f.dim() == 2 else as_map(f) for f in (student_feature, teacher_feature)]
        student, teacher = match_size(pair[0], pair[1])
        return vid_loss(adapt(self.regressor, student), teacher, F.softplus(self.a) + EPS)
