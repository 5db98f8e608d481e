"""What losses of token sequences (N, L, D) share: checks of shapes, means that leave padding out, projections."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def check_hidden_states(student: Sequence[int], teacher: Sequence[int]) -> None:
    """Whether these are the shapes of hidden states of the same texts.

    Raises:
        ValueError: they are not (N, L, D), or of another number of samples.
    """
    if len(student) != 3 or len(teacher) != 3:
        raise ValueError(
            "hidden states of student and teacher must have shape (N, L, D), tokens of a transformer, "
            f"got {tuple(student)} and {tuple(teacher)}"
        )
    if student[0] != teacher[0]:
        raise ValueError(f"student and teacher must hold the same samples, got {student[0]} and {teacher[0]}")


def check_tokens(student: Sequence[int], teacher: Sequence[int]) -> None:
    """:func:`check_hidden_states`, and whether both are of the same tokens.

    Raises:
        ValueError: they are not, as where student and teacher have different tokenizers.
    """
    check_hidden_states(student, teacher)
    if student[1] != teacher[1]:
        raise ValueError(
            f"student and teacher must see the same tokens, got {student[1]} and {teacher[1]}: "
            "this loss compares them one by one, which needs one tokenizer for both"
        )


def valid(attention_mask: Tensor | None, tokens: Tensor) -> Tensor:
    """Which positions of ``tokens`` (N, L, ...) count, bool (N, L); all where there is no mask.

    Raises:
        ValueError: the mask has another shape.
    """
    if attention_mask is None:
        return torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    if attention_mask.shape != tokens.shape[:2]:
        raise ValueError(
            f"attention_mask must have the shape of the student's tokens, {tuple(tokens.shape[:2])}, "
            f"got {tuple(attention_mask.shape)}"
        )
    return attention_mask != 0


def valid_mean(values: Tensor, positions: Tensor) -> Tensor:
    """The mean of ``values`` (N, L) over the ``positions`` that count, bool (N, L); 0 where none does."""
    return values.masked_fill(~positions, 0.0).sum() / positions.sum().clamp(min=1)


def projection(student: Sequence[int], teacher: Sequence[int]) -> nn.Module:
    """A linear layer from the student's width to the teacher's; none where the widths are equal."""
    return nn.Identity() if student[-1] == teacher[-1] else nn.Linear(student[-1], teacher[-1])
