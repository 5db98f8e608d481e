"""Mean squared error between the logits of student and teacher."""

import torch.nn.functional as F
from torch import Tensor

from distill.losses.checks import full_precision, same_shape


@full_precision
def logit_mse_loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """mean_{M,C} (z_s − z_t)²: of rows, as the task sees them; ``OutputMSE`` reads a model's output as it is.

    For large T the gradient of KD (with T²) is half of this one's, of logits whose mean is taken off each row. Unlike
    any loss of softmax it also compares that mean.

    Args:
        student_logits: z_s, shape (M, C).
        teacher_logits: z_t, shape (M, C).

    Returns:
        A scalar ≥ 0, in squared logits.

    Raises:
        ValueError: the shapes differ.

    Source: Kim et al. 2021, "Comparing Kullback-Leibler Divergence and Mean Squared Error Loss in Knowledge
    Distillation", arXiv:2105.08919; before that Ba and Caruana 2014, "Do Deep Nets Really Need to be Deep?",
    arXiv:1312.6184.

    Example:
        >>> import torch
        >>> logit_mse_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 4.0]])).item()
        2.0
    """
    same_shape(student_logits, teacher_logits, "student_logits", "teacher_logits", dims=2)
    return F.mse_loss(student_logits, teacher_logits)
