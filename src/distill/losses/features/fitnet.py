"""FitNets hint loss: MSE between an adapted student feature map and the teacher's."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from distill.losses.adapters import adapt, adapter, match_size, normalisable
from distill.losses.checks import full_precision, same_shape, zero


@full_precision
def hint_loss(student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
    """Hint loss of FitNets: mean of (f_s − f_t)² over all elements.

    Args:
        student_feature: f_s, adapted to the teacher's shape.
        teacher_feature: f_t, any shape.

    Returns:
        A scalar, in squared units of the features.

    Raises:
        ValueError: the shapes differ.

    Source: Romero et al. 2015, "FitNets: Hints for Thin Deep Nets", arXiv:1412.6550.

    Example:
        >>> import torch
        >>> hint_loss(torch.ones(2, 3), torch.zeros(2, 3)).item()
        1.0
    """
    same_shape(student_feature, teacher_feature, "student_feature", "teacher_feature")
    return F.mse_loss(student_feature, teacher_feature)


class FitNet(nn.Module):
    """:func:`hint_loss` through an adapter that is trained with the student.

    Where the maps differ in size, the larger is average-pooled to the smaller.

    Args:
        relu: end the adapter with a ReLU (the hint stages of most networks end with one); turn it off where the
            teacher's features can be negative.
    """

    fixed = ("relu",)  # no schedule can change it

    def __init__(self, relu: bool = True) -> None:
        super().__init__()
        self.relu = relu
        self.adapter: nn.Module = nn.Identity()

    def build(self, student_feature: Sequence[int], teacher_feature: Sequence[int]) -> None:
        self.adapter = adapter(student_feature, teacher_feature, self.relu)

    def forward(self, student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
        student, teacher = match_size(student_feature, teacher_feature)
        if self.training and not normalisable(student):
            return zero(student)
        return hint_loss(adapt(self.adapter, student), teacher)
