"""Activation-boundary (AB) loss: a margin loss on the signs of the teacher's pre-activations."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.losses.adapters import adapt, adapter, match_sizes, normalisable
from distill.losses.checks import full_precision, positive, same_shape, same_stages, sum_of_squares, zero

SCALE = 3e-3


@full_precision
def ab_loss(
    student_preactivations: Sequence[Tensor],
    teacher_preactivations: Sequence[Tensor],
    margin: float = 1.0,
    scale: float = SCALE,
) -> Tensor:
    """Activation boundary loss: scale · Σ_l 2^(l−L) · mean_N Σ max(0, margin − sign(t_l) · s_l)².

    The inner sum goes over all neurons of a sample, sign is +1 where the teacher's neuron is active (t > 0) and −1
    where it is not; l = 1 … L from shallow to deep, so that the deepest stage has weight 1. Only the side of the
    boundary counts, not how far the teacher is from it.

    The paper sums over the neurons (its loss is a squared L2 norm); its code divides by the batch size and by 1000
    and, for CIFAR, multiplies by 3. As this loss is minimised alone, the factor sets the size of the steps; it is kept
    as ``scale``.

    Args:
        student_preactivations: s_l, before the ReLU, brought to the teacher's shapes; shallow to deep.
        teacher_preactivations: t_l, before the ReLU, as many, each of the same shape.
        margin: μ > 0 (paper: 1); a neuron on the right side by at least this much costs nothing.
        scale: > 0 (the authors' code for CIFAR: 3 / 1000).

    Returns:
        A scalar ≥ 0, in squared units of the pre-activations per sample (× scale).

    Raises:
        ValueError: margin or scale is not above 0, no stage, different numbers of stages, or shapes that differ.

    Source: Heo et al. 2019, "Knowledge Transfer via Distillation of Activation Boundaries Formed by Hidden Neurons",
    AAAI 2019, arXiv:1811.03233.

    Example:
        >>> import torch
        >>> ab_loss([torch.tensor([[3.0, 0.0]])], [torch.tensor([[0.1, -0.1]])], scale=1.0).item()
        1.0
    """
    positive("margin", margin)
    positive("scale", scale)
    same_stages("AB", student_preactivations, teacher_preactivations)
    last = len(student_preactivations) - 1
    losses = []
    for i, (student, teacher) in enumerate(zip(student_preactivations, teacher_preactivations, strict=True)):
        same_shape(student, teacher, f"student_preactivations[{i}]", f"teacher_preactivations[{i}]")
        sign = (teacher > 0).to(student.dtype).mul_(2).sub_(1)
        short = F.relu(torch.addcmul(student.new_full((), margin), sign, student, value=-1), inplace=True)
        losses.append(sum_of_squares(short) / student.shape[0] * 2.0 ** (i - last))
    return torch.stack(losses).sum() * scale


class AB(nn.Module):
    """:func:`ab_loss` through connectors that are trained with the student.

    A connector is a 1×1 convolution and BatchNorm (a linear layer and LayerNorm for tokens and vectors) from the
    student's channels to the teacher's. Where the channels are equal there is none, as in the authors' code: the
    student's neurons learn the boundaries. Where the maps differ in size, the larger is average-pooled.

    The method trains the student by this loss alone at first, and by cross-entropy alone afterwards. Under DDP each
    process normalises its part of the batch, as everywhere without synchronised BatchNorm.
    """

    def __init__(self, margin: float = 1.0, scale: float = SCALE) -> None:
        super().__init__()
        self.margin = positive("margin", margin)
        self.scale = positive("scale", scale)
        self.connectors = nn.ModuleList()

    def build(
        self, student_preactivations: Sequence[Sequence[int]], teacher_preactivations: Sequence[Sequence[int]]
    ) -> None:
        same_stages("AB", student_preactivations, teacher_preactivations)
        self.connectors = nn.ModuleList()
        for student, teacher in zip(student_preactivations, teacher_preactivations, strict=True):
            connector = adapter(student, teacher, relu=False)
            channels = [shape[1] if len(shape) == 4 else shape[-1] for shape in (student, teacher)]
            self.connectors.append(nn.Identity() if channels[0] == channels[1] else connector)

    def forward(self, student_preactivations: Sequence[Tensor], teacher_preactivations: Sequence[Tensor]) -> Tensor:
        students, teachers = match_sizes(student_preactivations, teacher_preactivations)
        if self.training and not normalisable(*students):
            return zero(*students)
        adapted = [adapt(connector, student) for connector, student in zip(self.connectors, students, strict=True)]
        return ab_loss(adapted, teachers, self.margin, self.scale)
