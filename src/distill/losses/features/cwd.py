"""Channel-wise distillation (CWD): where in the map each channel is active, as a distribution over places."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from distill.losses.adapters import adapt, adapter, as_map, map_shapes, match_size, normalisable
from distill.losses.checks import full_precision, positive, same_samples, zero


@full_precision
def cwd_loss(student_map: Tensor, teacher_map: Tensor, T: float = 4.0) -> Tensor:
    """Channel-wise distillation: T² / (N·C) · Σ_{n,c} KL(softmax_places(t / T) ‖ softmax_places(s / T)).

    For each sample and channel the softmax runs over all H·W places. Of two maps of different size the larger is
    average-pooled to the smaller.

    Args:
        student_map: logits or features, (N, C, H_s, W_s).
        teacher_map: likewise, (N, C, H_t, W_t).
        T: temperature, > 0.

    Returns:
        A scalar in nats per channel (× T²).

    Raises:
        ValueError: T is not above 0, no maps, or different numbers of samples or channels.

    Source: Shu et al. 2021, "Channel-wise Knowledge Distillation for Dense Prediction", arXiv:2011.13256, eq. 5.

    Example:
        >>> import torch
        >>> cwd_loss(torch.zeros(1, 1, 1, 2), torch.tensor([[[[5.0, 5.0]]]])).item()
        0.0
    """
    positive("T", T)
    same_samples(student_map, teacher_map)
    if student_map.dim() != 4 or teacher_map.dim() != 4 or student_map.shape[1] != teacher_map.shape[1]:
        shapes = f"{tuple(student_map.shape)} and {tuple(teacher_map.shape)}"
        raise ValueError(f"student and teacher must be maps (N, C, H, W) of as many channels, got {shapes}")
    student, teacher = match_size(student_map, teacher_map)
    log_s, log_t = (F.log_softmax(each.flatten(2).flatten(0, 1) / T, dim=1) for each in (student, teacher))
    return F.kl_div(log_s, log_t, reduction="batchmean", log_target=True) * T**2


class CWD(nn.Module):
    """:func:`cwd_loss` of the logits of student and teacher, at the smaller of their strides."""

    def __init__(self, T: float = 4.0) -> None:
        super().__init__()
        self.T = positive("T", T)

    def build(self, student_output: Sequence[int], teacher_output: Sequence[int]) -> None:
        if len(student_output) != 4 or len(teacher_output) != 4:
            raise ValueError("it compares maps of logits (N, C, H, W), which models of task=segmentation give")

    def forward(self, student_output: Tensor, teacher_output: Tensor) -> Tensor:
        return cwd_loss(student_output, teacher_output, self.T)


class CWDFeature(nn.Module):
    """:func:`cwd_loss` of one pair of layers, the student's through an adapter (1×1 convolution, BatchNorm)."""

    def __init__(self, T: float = 4.0) -> None:
        super().__init__()
        self.T = positive("T", T)
        self.adapter: nn.Module = nn.Identity()

    def build(self, student_feature: Sequence[int], teacher_feature: Sequence[int]) -> None:
        self.adapter = adapter(*map_shapes(student_feature, teacher_feature), relu=False)

    def forward(self, student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
        student, teacher = match_size(as_map(student_feature), as_map(teacher_feature))
        if self.training and not normalisable(student):
            return zero(student)
        return cwd_loss(adapt(self.adapter, student), teacher, self.T)
