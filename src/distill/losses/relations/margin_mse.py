"""Margin-MSE: the differences between the scores of samples, and not the scores themselves."""

from torch import Tensor

from distill.losses.checks import full_precision, same_shape, zero
from distill.losses.gather import BatchLoss


@full_precision
def margin_mse_loss(student_output: Tensor, teacher_output: Tensor) -> Tensor:
    """Margin-MSE: the mean, over the K outputs and all pairs i ≠ j, of ((s_i − s_j) − (t_i − t_j))².

    s and t are one output of student and teacher for the samples of a batch, as a ranker's scores: the student learns
    by how much one sample stands above another, and a constant added to all of a model's scores changes nothing.
    Computed as twice the unbiased variance of s − t over the batch, which is the same; no N × N numbers are made.

    Args:
        student_output: (N, K), N ≥ 2.
        teacher_output: (N, K).

    Returns:
        A scalar ≥ 0, in squared units of the outputs.

    Raises:
        ValueError: the shapes differ, or there are fewer than 2 samples.

    Source: Hofstätter et al. 2020, "Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge
    Distillation", arXiv:2010.02666, eq. 1: there the pairs are a query's relevant and one other passage of training
    triples; here they are all pairs of a batch.

    Example:
        >>> import torch
        >>> margin_mse_loss(torch.tensor([[1.0], [4.0]]), torch.tensor([[0.0], [1.0]])).item()  # (3 − 1)²
        4.0
    """
    same_shape(student_output, teacher_output, "student_output", "teacher_output", dims=2)
    if len(student_output) < 2:
        raise ValueError(f"margins need at least 2 samples in a batch, got {len(student_output)}")
    return 2 * (student_output - teacher_output).var(dim=0).mean()


class MarginMSE(BatchLoss):
    """:func:`margin_mse_loss` of the models' outputs; a batch of 1 sample has no pair and counts as 0."""

    def forward(self, student_output: Tensor, teacher_output: Tensor) -> Tensor:
        student_output, teacher_output = self.whole_batch(student_output, teacher_output)
        if len(student_output) < 2:
            same_shape(student_output, teacher_output, "student_output", "teacher_output", dims=2)
            return zero(student_output)
        return margin_mse_loss(student_output, teacher_output)
