"""Patient knowledge distillation (PKD): the normalised first token of several layers."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.losses.adapters import adapt
from distill.losses.checks import full_precision, same_shape, same_stages
from distill.losses.tokens import check_hidden_states, projection

EPS = 1e-7


@full_precision
def pkd_loss(student_features: Sequence[Tensor], teacher_features: Sequence[Tensor]) -> Tensor:
    """Patient distillation: mean_N Σ_layers ‖s / ‖s‖ − t / ‖t‖‖², which is Σ_layers 2 · (1 − cos(s, t)).

    Args:
        student_features: of each layer the hidden state s of the first token ([CLS]), projected, (N, D).
        teacher_features: t of as many layers, (N, D).

    Returns:
        A scalar without unit, in [0, 4 · number of layers].

    Raises:
        ValueError: the shapes or the numbers of layers differ.

    Source: Sun et al. 2019, "Patient Knowledge Distillation for BERT Model Compression", arXiv:1908.09355, eq. 7, there
    a sum over the samples; the authors' code takes the mean over samples, layers and the D elements instead, which is
    smaller by D times the number of layers.

    Example:
        >>> import torch
        >>> pkd_loss([torch.tensor([[3.0, 0.0]])], [torch.tensor([[0.0, 2.0]])]).item()
        2.0
    """
    same_stages("PKD", student_features, teacher_features)
    parts = []
    for student, teacher in zip(student_features, teacher_features, strict=True):
        same_shape(student, teacher, "the student's first tokens", "the teacher's", dims=2)
        difference = F.normalize(student, dim=1, eps=EPS) - F.normalize(teacher, dim=1, eps=EPS)
        parts.append(difference.square().sum(dim=1).mean())
    return torch.stack(parts).sum()


class PKD(nn.Module):
    """:func:`pkd_loss` of the first tokens, the student's through a linear layer where the widths differ.

    Of the hidden states (N, L, D) it reads the first position alone: L may differ, as with two tokenizers.
    """

    takes_tokens = True

    def __init__(self) -> None:
        super().__init__()
        self.projections = nn.ModuleList()

    def build(self, student_features: Sequence[Sequence[int]], teacher_features: Sequence[Sequence[int]]) -> None:
        same_stages("PKD", student_features, teacher_features)
        for student, teacher in zip(student_features, teacher_features, strict=True):
            check_hidden_states(student, teacher)
            self.projections.append(projection(student, teacher))

    def forward(self, student_features: list[Tensor], teacher_features: list[Tensor]) -> Tensor:
        same_stages("PKD", student_features, teacher_features)
        for student, teacher in zip(student_features, teacher_features, strict=True):
            check_hidden_states(student.shape, teacher.shape)
        students = [adapt(p, x[:, 0]) for p, x in zip(self.projections, student_features, strict=True)]
        return pkd_loss(students, [x[:, 0] for x in teacher_features])
