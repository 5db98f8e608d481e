"""Hidden states of a transformer's layers, token by token: mean squared error or cosine."""

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from distill.losses.adapters import adapt
from distill.losses.checks import full_precision, same_shape
from distill.losses.tokens import check_tokens, projection, valid, valid_mean

Distance = Literal["mse", "cosine"]
DISTANCES = ("mse", "cosine")


@full_precision
def hidden_loss(
    student_feature: Tensor, teacher_feature: Tensor, attention_mask: Tensor | None = None, distance: Distance = "mse"
) -> Tensor:
    """The mean over tokens of d(s, t): mse, mean_D (s − t)²; cosine, 1 − s·t / (‖s‖ ‖t‖).

    The mean is over the positions that the mask keeps, of all texts together: padding changes nothing, and every token
    counts alike.

    Args:
        student_feature: hidden states s of one layer, projected to the teacher's width, (N, L, D).
        teacher_feature: t, (N, L, D).
        attention_mask: int64 (N, L), 0 at padding; None: every position counts.
        distance: "mse" or "cosine".

    Returns:
        A scalar ≥ 0: in squared units of the hidden states; of cosines in [0, 2] and without unit.

    Raises:
        ValueError: the shapes differ, or are not (N, L, D).

    Source: mse: Jiao et al. 2020, "TinyBERT: Distilling BERT for Natural Language Understanding", arXiv:1909.10351,
    eq. 8. cosine: Sanh et al. 2019, "DistilBERT, a distilled version of BERT", arXiv:1910.01108, section 3.

    Example:
        >>> import torch
        >>> s, mask = torch.tensor([[[1.0, 0.0], [9.0, 9.0]]]), torch.tensor([[1, 0]])
        >>> hidden_loss(s, torch.zeros(1, 2, 2), mask).item()
        0.5
    """
    check_tokens(student_feature.shape, teacher_feature.shape)
    same_shape(student_feature, teacher_feature, "student_feature", "teacher_feature")
    if distance == "cosine":
        distances = 1 - F.cosine_similarity(student_feature, teacher_feature, dim=2)
    else:
        distances = (student_feature - teacher_feature).square().mean(dim=2)
    return valid_mean(distances, valid(attention_mask, student_feature))


class HiddenStates(nn.Module):
    """:func:`hidden_loss`, the student's through a linear layer where the widths differ, trained with the student.

    Args:
        distance: "mse", or "cosine", which does not see the lengths of the vectors.

    Raises:
        ValueError: another distance.
    """

    fixed = ("distance",)  # no schedule can change it

    takes_tokens = True

    def __init__(self, distance: Distance = "mse") -> None:
        super().__init__()
        if distance not in DISTANCES:
            raise ValueError(f"distance must be one of {', '.join(DISTANCES)}, got {distance!r}")
        self.distance = distance
        self.projection: nn.Module = nn.Identity()

    def build(self, student_feature: Sequence[int], teacher_feature: Sequence[int]) -> None:
        check_tokens(student_feature, teacher_feature)
        self.projection = projection(student_feature, teacher_feature)

    def forward(self, student_feature: Tensor, teacher_feature: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        student = adapt(self.projection, student_feature)
        return hidden_loss(student, teacher_feature, attention_mask, self.distance)
