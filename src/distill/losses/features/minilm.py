"""MiniLMv2: relations between the tokens of a text, as the queries, keys and values of one layer show them."""

import functools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.losses.checks import full_precision, same_stages, whole
from distill.losses.tokens import check_tokens, valid, valid_mean

RELATIONS = ("queries", "keys", "values")
MOST_HEADS = 12


def relation_heads_of(student: Sequence[int], teacher: Sequence[int], wanted: int | None = None) -> int:
    """The number of relation heads for these widths: ``wanted``; None: the most that divide all of them, up to 12.

    Args:
        student: widths of the student's queries, keys and values.
        teacher: the teacher's.
        wanted: a number of heads.

    Raises:
        ValueError: ``wanted`` does not divide every width; shows those that do.
    """
    common = functools.reduce(math.gcd, (*student, *teacher))
    divisors = [heads for heads in range(1, common + 1) if common % heads == 0]
    if wanted is None:
        return max(heads for heads in divisors if heads <= MOST_HEADS)
    if wanted not in divisors:
        raise ValueError(
            f"relation_heads={wanted} must divide the widths of queries, keys and values, "
            f"{', '.join(map(str, student))} (student) and {', '.join(map(str, teacher))} (teacher): "
            f"one of {', '.join(map(str, divisors))}"
        )
    return wanted


def _log_relations(x: Tensor, heads: int, keys: Tensor) -> Tensor:
    """The logarithm of softmax over keys of x xᵀ / √d_r, in every relation head: (N, heads, L, L)."""
    n, length, width = x.shape
    split = x.reshape(n, length, heads, width // heads).transpose(1, 2)
    scores = split @ split.transpose(2, 3) / math.sqrt(width // heads)
    lowest = torch.finfo(scores.dtype).min  # and not −inf: a text without a valid key stays finite
    return F.log_softmax(scores.masked_fill(~keys[:, None, None, :], lowest), dim=3)


@full_precision
def minilm_loss(
    student_attention: Sequence[Tensor],
    teacher_attention: Sequence[Tensor],
    attention_mask: Tensor | None = None,
    relation_heads: int = MOST_HEADS,
) -> Tensor:
    """Self-attention relations: Σ_{x = q, k, v} mean over heads and tokens i of KL(R_t(i) ‖ R_s(i)).

    R(i) = softmax_j(x_i · x_j / √d_r) over the valid tokens j of the same text, with x the queries, keys or values that
    one layer's projections return, split anew into ``relation_heads`` parts of d_r = D / relation_heads numbers. The
    relations have no width: student and teacher need not have the same width or number of attention heads, and no
    attention matrix of the models is needed, so that fused attention stays on.

    The mean is over the valid tokens of all texts together; the paper's is over each text first.

    Args:
        student_attention: [query, key, value] of one layer, each (N, L, D).
        teacher_attention: the teacher's, each (N, L, D_t), of the same tokens.
        attention_mask: int64 (N, L), 0 at padding; None: every position counts.
        relation_heads: how many parts; it divides every width (paper: 48 for width 768 and 64 for 1024).

    Returns:
        A scalar ≥ 0, the sum of three divergences in nats per token.

    Raises:
        ValueError: not three tensors each, other shapes, or widths that the heads do not divide.

    Source: Wang et al. 2021, "MiniLMv2: Multi-Head Self-Attention Relation Distillation for Compressing Pretrained
    Transformers", arXiv:2012.15828, eq. 4 to 6, with weight 1 for Q–Q, K–K and V–V.

    Example:
        >>> qkv = [torch.eye(4)[None]] * 3  # a sign changes none of the products
        >>> minilm_loss(qkv, [-x for x in qkv], relation_heads=2).item()
        0.0
    """
    same_stages("MiniLM", student_attention, teacher_attention, least=len(RELATIONS))
    for student, teacher in zip(student_attention, teacher_attention, strict=True):
        check_tokens(student.shape, teacher.shape)
    heads = relation_heads_of(_widths(student_attention), _widths(teacher_attention), relation_heads)
    positions = valid(attention_mask, student_attention[0])
    parts = []
    for student, teacher in zip(student_attention, teacher_attention, strict=True):
        log_s, log_t = (_log_relations(x, heads, positions) for x in (student, teacher))
        divergence = F.kl_div(log_s, log_t, reduction="none", log_target=True).sum(dim=3)
        parts.append(valid_mean(divergence.mean(dim=1), positions))
    return torch.stack(parts).sum()


def _widths(attention: Sequence[Tensor]) -> list[int]:
    return [x.shape[2] for x in attention]


class MiniLM(nn.Module):
    """:func:`minilm_loss` with the number of relation heads that fits both models.

    Args:
        relation_heads: it divides every width, ≥ 1; None: the most that do, up to 12. More heads are finer and take
            memory: N · heads · L² numbers per relation and model.
    """

    fixed = ("relation_heads",)  # no schedule can change it

    takes_tokens = True

    def __init__(self, relation_heads: int | None = None) -> None:
        super().__init__()
        self.relation_heads = None if relation_heads is None else whole("relation_heads", relation_heads)
        self.heads: int = self.relation_heads or MOST_HEADS

    def build(self, student_attention: Sequence[Sequence[int]], teacher_attention: Sequence[Sequence[int]]) -> None:
        same_stages("MiniLM", student_attention, teacher_attention, least=len(RELATIONS))
        for student, teacher in zip(student_attention, teacher_attention, strict=True):
            check_tokens(student, teacher)
        student_widths, teacher_widths = ([x[2] for x in side] for side in (student_attention, teacher_attention))
        self.heads = relation_heads_of(student_widths, teacher_widths, self.relation_heads)

    def forward(
        self,
        student_attention: list[Tensor],
        teacher_attention: list[Tensor],
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        return minilm_loss(student_attention, teacher_attention, attention_mask, self.heads)
