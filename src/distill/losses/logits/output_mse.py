"""Mean squared error between the outputs of student and teacher, for outputs that are numbers."""

import torch.nn.functional as F
from torch import Tensor, nn

from distill.losses.checks import full_precision, same_shape


@full_precision
def output_mse_loss(student_output: Tensor, teacher_output: Tensor) -> Tensor:
    """mean_{N,K} (ŷ_s − ŷ_t)².

    Args:
        student_output: shape (N, K).
        teacher_output: shape (N, K).

    Returns:
        A scalar ≥ 0, in squared units of the outputs (standard deviations of the targets in regression).

    Raises:
        ValueError: the shapes differ.

    Source: Ba and Caruana 2014, "Do Deep Nets Really Need to be Deep?", arXiv:1312.6184, eq. 1, here the mean over the
    outputs and without the factor ½.

    Example:
        >>> import torch
        >>> output_mse_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 4.0]])).item()
        2.0
    """
    same_shape(student_output, teacher_output, "student_output", "teacher_output", dims=2)
    return F.mse_loss(student_output, teacher_output)


class OutputMSE(nn.Module):
    """:func:`output_mse_loss`; it reads the outputs themselves, whatever the task."""

    def forward(self, student_output: Tensor, teacher_output: Tensor) -> Tensor:
        return output_mse_loss(student_output, teacher_output)
