"""Overhaul of feature distillation (OFD): partial L2 distance of pre-ReLU features under a margin ReLU."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distill.losses.adapters import adapt, adapter, as_map, map_shapes, match_sizes, normalisable
from distill.losses.checks import full_precision, same_shape, same_stages, sum_of_squares, zero

RARE = 1e-3  # a channel that is negative less often than this gets the margin −3·std
UNKNOWN = math.inf  # stands in a buffer for "the mean of the negative values of the batch at hand"


def bn_margin(beta: Tensor, gamma: Tensor) -> Tensor:
    """Margin of a channel after BatchNorm: E[x | x < 0] for x ~ N(β, γ²), = β − |γ| · φ(β/|γ|) / Φ(−β/|γ|).

    φ and Φ are the standard normal's density and distribution function. Where Φ(−β/|γ|) ≤ 0.001, it is −3·|γ|.

    Args:
        beta: bias of the BatchNorm, (C,).
        gamma: weight of the BatchNorm, (C,).

    Returns:
        (C,), ≤ 0.

    Source: Heo et al. 2019, arXiv:1904.01866; the rare case as in the authors' code.

    Example:
        >>> bn_margin(torch.tensor([0.0, 4.0]), torch.tensor([-1.0, 1.0]))
        tensor([-0.7979, -3.0000])
    """
    mean, std = beta.detach().double(), gamma.detach().double().abs().clamp(min=torch.finfo(torch.float32).tiny)
    ratio = mean / std
    negative = torch.special.ndtr(-ratio)
    density = torch.exp(-(ratio**2) / 2) / math.sqrt(2 * math.pi)
    margin = torch.where(negative > RARE, mean - std * density / negative, -3 * std)
    return margin.to(beta.dtype)


@full_precision
def batch_margin(teacher_preactivation: Tensor) -> Tensor:
    """Margin of a channel from a batch (N, C, H, W): the mean of its negative values, (C, 1, 1); 0 if it has none.

    Example:
        >>> batch_margin(torch.tensor([-1.0, -2.0, 5.0, 6.0]).reshape(1, 2, 1, 2)).flatten()
        tensor([-1.5000,  0.0000])
    """
    count = (teacher_preactivation < 0).sum((0, 2, 3), keepdim=True)
    return (teacher_preactivation.clamp(max=0).sum((0, 2, 3), keepdim=True) / count.clamp(min=1))[0]


@full_precision
def ofd_loss(
    student_preactivations: Sequence[Tensor], teacher_preactivations: Sequence[Tensor], margins: Sequence[Tensor]
) -> Tensor:
    """Overhaul of feature distillation: Σ_l 2^(l−L) · (1/N) Σ d(s_l, max(t_l, m_l)), l = 1 … L from shallow to deep.

    d is the partial squared distance of one element: 0 where s ≤ target ≤ 0, else (s − target)². A student that is
    more negative than the teacher's negative value gives the same ReLU, and is left alone.

    Args:
        student_preactivations: s_l, shape (N, C_l, H_l, W_l), brought to the teacher's shape.
        teacher_preactivations: t_l, same shapes.
        margins: m_l ≤ 0 per channel, shape (C_l, 1, 1).

    Returns:
        A scalar in squared units of the features: summed over channels and positions, mean over samples. With the
        weight 1e-3 it is the paper's CIFAR-100 recipe (authors' code: sum over everything / batch size / 1000).

    Raises:
        ValueError: no stage, different numbers of stages, shapes that differ, or a margin of another shape.

    Source: Heo et al. 2019, "A Comprehensive Overhaul of Feature Distillation", arXiv:1904.01866 (margin ReLU and
    partial L2 distance).

    Example:
        >>> s, t = torch.tensor([-9.0, -1.0, 1.0, 0.0]), torch.tensor([-5.0, -5.0, 2.0, -5.0])
        >>> round(ofd_loss([s.reshape(1, 1, 2, 2)], [t.reshape(1, 1, 2, 2)], [torch.full((1, 1, 1), -2.0)]).item(), 4)
        6.0
    """
    same_stages("OFD", student_preactivations, teacher_preactivations)
    stages = len(margins)
    if stages != len(student_preactivations):
        raise ValueError(f"margins must have {len(student_preactivations)} entries, one per stage, got {stages}")
    losses = []
    for i, (student, teacher, margin) in enumerate(
        zip(student_preactivations, teacher_preactivations, margins, strict=True), 1
    ):
        same_shape(student, teacher, "student_preactivations", "teacher_preactivations", dims=4)
        if margin.shape != (student.shape[1], 1, 1):
            raise ValueError(
                f"margins[{i - 1}] must have shape {(student.shape[1], 1, 1)}, one per channel, "
                f"got {tuple(margin.shape)}"
            )
        target = torch.maximum(teacher, margin)
        is_compared = (student > target) | (target > 0)
        losses.append(2.0 ** (i - stages) * sum_of_squares((student - target) * is_compared) / len(student))
    return torch.stack(losses).sum()


class OFD(nn.Module):
    """:func:`ofd_loss` through connectors (1×1 convolution and BatchNorm), with margins from the teacher's BatchNorms.

    The margins are buffers. :meth:`calibrate` sets them once the teacher is trained; a stage without BatchNorm takes
    the mean of the teacher's negative values per channel from the batch at hand (under DDP: from this process's part
    of it). Where the maps differ in size, the larger is average-pooled to the smaller.
    """

    def __init__(self) -> None:
        super().__init__()
        self.connectors = nn.ModuleList()

    def build(
        self, student_preactivations: Sequence[Sequence[int]], teacher_preactivations: Sequence[Sequence[int]]
    ) -> None:
        for i, (student, teacher) in enumerate(zip(student_preactivations, teacher_preactivations, strict=True)):
            student_map, teacher_map = map_shapes(student, teacher)
            connector, channels = adapter(student_map, teacher_map, relu=False), teacher_map[1]
            nn.init.normal_(connector.get_parameter("0.weight"), std=math.sqrt(2 / channels))
            self.connectors.append(connector)
            self.register_buffer(f"margin{i}", torch.full((channels, 1, 1), UNKNOWN))

    def _margins(self) -> list[Tensor]:
        return [self.get_buffer(f"margin{i}") for i in range(len(self.connectors))]

    def calibrate(self, teacher_norms: Sequence[tuple[Tensor, Tensor] | None]) -> None:
        """Sets the margins of a trained teacher; see :func:`bn_margin`.

        Args:
            teacher_norms: for each stage (β, γ) of the BatchNorm before its ReLU, both (C,), or None where there is
                none. In a residual block this is the norm of the last convolution: the shortcut is left out of the
                account, as in the authors' code.

        Raises:
            ValueError: another number of stages or of channels than in :meth:`build`.
        """
        margins = self._margins()
        if len(teacher_norms) != len(margins):
            raise ValueError(f"teacher_norms must have {len(margins)} entries, one per stage, got {len(teacher_norms)}")
        for i, (margin, norm) in enumerate(zip(margins, teacher_norms, strict=True)):
            if norm is None:
                margin.fill_(UNKNOWN)
            elif norm[0].shape != norm[1].shape or norm[0].shape != margin.shape[:1]:
                raise ValueError(
                    f"teacher_norms[{i}] must be two tensors of shape ({len(margin)},), "
                    f"got {tuple(norm[0].shape)} and {tuple(norm[1].shape)}"
                )
            else:
                margin.copy_(bn_margin(*norm)[:, None, None])

    def forward(self, student_preactivations: list[Tensor], teacher_preactivations: list[Tensor]) -> Tensor:
        unpooled = [as_map(teacher) for teacher in teacher_preactivations]
        students, teachers = match_sizes([as_map(student) for student in student_preactivations], unpooled)
        if self.training and not normalisable(*students):
            return zero(*students)
        margins = [
            torch.where(margin == UNKNOWN, batch_margin(teacher), margin)
            for margin, teacher in zip(self._margins(), unpooled, strict=True)
        ]
        adapted = [adapt(connector, student) for connector, student in zip(self.connectors, students, strict=True)]
        return ofd_loss(adapted, teachers, margins)
