"""ReviewKD: attention-based fusion across stages and hierarchical context loss."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.losses.adapters import as_map, map_shapes, normalisable
from distill.losses.checks import full_precision, same_shape, same_stages, whole, zero

SIZES = (4, 2, 1)


def _hcl(student: Tensor, teacher: Tensor) -> Tensor:
    """Hierarchical context loss of one stage."""
    loss, weight, total = F.mse_loss(student, teacher), 1.0, 1.0
    for size in SIZES:
        if size < min(student.shape[2:]):
            pooled = (F.adaptive_avg_pool2d(student, size), F.adaptive_avg_pool2d(teacher, size))
            weight /= 2
            total += weight
            loss = loss + weight * F.mse_loss(*pooled)
    return loss / total


@full_precision
def reviewkd_loss(student_features: Sequence[Tensor], teacher_features: Sequence[Tensor]) -> Tensor:
    """Σ_stages hierarchical context loss (HCL): the weighted mean of the MSE at full size and pooled to 4×4, 2×2, 1×1.

    Full size has weight 1, and each pooled size half of the one before. A size that is not below the map's smaller
    side is left out: an 8×8 map has weights 1, ½, ¼, ⅛ over their sum 1.875, a 4×4 map 1, ½, ¼ over 1.75 (4, 2, 1),
    and of a 1×1 map it is the plain MSE.

    Args:
        student_features: shape (N, C_l, H_l, W_l), fused and brought to the teacher's shape.
        teacher_features: same shapes.

    Returns:
        A scalar in squared units of the features.

    Raises:
        ValueError: no stage, different numbers of stages, or shapes that differ.

    Source: Chen et al. 2021, "Distilling Knowledge via Knowledge Review", arXiv:2104.09044; the weights are those of
    the authors' code.

    Example:
        >>> reviewkd_loss([torch.ones(2, 3, 8, 8)], [torch.zeros(2, 3, 8, 8)]).item()
        1.0
    """
    same_stages("ReviewKD", student_features, teacher_features)
    losses = []
    for student, teacher in zip(student_features, teacher_features, strict=True):
        same_shape(student, teacher, "student_features", "teacher_features", dims=4)
        losses.append(_hcl(student, teacher))
    return torch.stack(losses).sum()


class ABF(nn.Module):
    """Attention-based fusion: a stage of the student with what comes up from the deeper ones.

    x = BN(conv1×1(feature)); where a deeper stage exists, x ← a · x + b · (the deeper one's x, resized), with maps a
    and b = σ(conv1×1([x, deeper])). x, resized to the teacher's map, is what goes up; BN(conv3×3(x)) is compared.

    Args:
        student: channels of the student's stage.
        mid: channels of x.
        teacher: channels of the teacher's stage.
        fuse: whether a deeper stage exists.
    """

    def __init__(self, student: int, mid: int, teacher: int, fuse: bool) -> None:
        super().__init__()
        inside = nn.Conv2d(student, mid, kernel_size=1, bias=False)
        outside = nn.Conv2d(mid, teacher, kernel_size=3, padding=1, bias=False)
        for convolution in (inside, outside):
            nn.init.kaiming_uniform_(convolution.weight, a=1)
        self.inside = nn.Sequential(inside, nn.BatchNorm2d(mid))
        self.outside = nn.Sequential(outside, nn.BatchNorm2d(teacher))
        self.attention = nn.Conv2d(2 * mid, 2, kernel_size=1) if fuse else None

    def forward(self, feature: Tensor, deeper: Tensor | None, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """What is compared, (N, teacher, *size), and what goes up, (N, mid, *size)."""
        x = self.inside(feature)
        if self.attention is not None and deeper is not None:
            deeper = _resized(deeper, (x.shape[2], x.shape[3]))
            share = self.attention(torch.cat([x, deeper], 1)).sigmoid()
            x = x * share[:, :1] + deeper * share[:, 1:]
        x = _resized(x, size)
        return self.outside(x), x


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    return x if x.shape[2:] == size else F.interpolate(x, size, mode="nearest")


def _levels(features: Sequence[Tensor], embedding: Tensor | None) -> list[Tensor]:
    """Maps from shallow to deep, the embedding as a map of 1×1 last."""
    maps = [as_map(feature) for feature in features]
    return maps if embedding is None else [*maps, embedding[:, :, None, None]]


class ReviewKD(nn.Module):
    """:func:`reviewkd_loss` between the student's stages, fused from deep to shallow, and the teacher's.

    As in the authors' CIFAR code, the embedding is the deepest level (a 1×1 map) where both models have one, the
    student's stages are taken after their ReLU and the teacher's before it (a fused map ends in a BatchNorm and can
    be negative).

    Args:
        max_mid_channels: bound, ≥ 1, on the channels in which stages are fused. Fused are as many as the student's
            deepest level has (64 for a ResNet-20, 256 for a ResNet-8x4), at most this.
    """

    fixed = ("max_mid_channels",)  # no schedule can change them

    def __init__(self, max_mid_channels: int = 512) -> None:
        super().__init__()
        self.max_mid_channels = whole("max_mid_channels", max_mid_channels)
        self.fusions = nn.ModuleList()

    def build(
        self,
        student_features: Sequence[Sequence[int]],
        teacher_preactivations: Sequence[Sequence[int]],
        student_embedding: Sequence[int] | None = None,
        teacher_embedding: Sequence[int] | None = None,
    ) -> None:
        stages = zip(student_features, teacher_preactivations, strict=True)
        pairs = [(s[1], t[1]) for s, t in (map_shapes(student, teacher) for student, teacher in stages)]
        if student_embedding is not None and teacher_embedding is not None:
            pairs.append((student_embedding[1], teacher_embedding[1]))
        mid = min(self.max_mid_channels, pairs[-1][0])
        for i, (s, t) in enumerate(pairs, 1):
            self.fusions.append(ABF(s, mid, t, fuse=i < len(pairs)))

    def forward(
        self,
        student_features: list[Tensor],
        teacher_preactivations: list[Tensor],
        student_embedding: Tensor | None = None,
        teacher_embedding: Tensor | None = None,
    ) -> Tensor:
        if student_embedding is None or teacher_embedding is None:
            student_embedding = teacher_embedding = None
        students = _levels(student_features, student_embedding)
        teachers = _levels(teacher_preactivations, teacher_embedding)
        if self.training and not normalisable(*students, *teachers):
            return zero(*students)
        fused: list[Tensor] = []
        deeper: Tensor | None = None
        for fusion, student, teacher in zip(
            reversed(self.fusions), reversed(students), reversed(teachers), strict=True
        ):
            compared, deeper = fusion(student, deeper, (teacher.shape[2], teacher.shape[3]))
            fused.insert(0, compared)
        return reviewkd_loss(fused, teachers)
