"""A logit loss computed from last hidden states, some rows at a time: the logits (M, C) never exist as a whole."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from distill.losses.checks import positive, whole

ROWS = 256  # of 49,152 classes in float32: 48 MiB per tensor


def _zeros(parameter: Tensor) -> Tensor:
    """Where gradients of chunks are summed: in float32 at least."""
    return torch.zeros_like(parameter, dtype=torch.promote_types(parameter.dtype, torch.float32))


def _accumulate(total: Tensor, grad: Tensor, hidden: Tensor) -> None:
    """Total += gradᵀ · hidden; in float32 where the product is of half precision."""
    if grad.dtype == total.dtype:
        total.addmm_(grad.T, hidden)
    else:
        total += grad.T @ hidden


class _ChunkedLoss(torch.autograd.Function):
    """Computes the gradients in the forward pass, as they are needed there while a chunk's logits are at hand."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        loss: Callable[..., Tensor],
        others: Callable[[slice], list[Tensor]],
        rows: int,
        num_rows: float,
        is_enabled: bool,
    ) -> Tensor:
        learns = is_enabled and any(ctx.needs_input_grad[:3])
        value = torch.zeros((), device=hidden.device)
        of_hidden, of_weight, of_bias = (learns and needed for needed in ctx.needs_input_grad[:3])
        grad_hidden = torch.empty_like(hidden) if of_hidden else None
        grad_weight = _zeros(weight) if of_weight else None
        grad_bias = _zeros(bias) if of_bias and bias is not None else None
        low = hidden.device.type if torch.is_autocast_enabled(hidden.device.type) else None
        factor = weight.to(torch.get_autocast_dtype(low)) if low else weight  # once, not once per chunk
        for start in range(0, len(hidden), rows):
            chunk = slice(start, start + rows)
            states = hidden[chunk]
            logits = F.linear(states, factor, bias)
            share = len(states) / num_rows
            with torch.set_grad_enabled(learns):
                part = loss(logits.requires_grad_(learns), *others(chunk))
            value = value + part.detach() * share
            if not learns:
                continue
            (grad,) = torch.autograd.grad(part, logits, torch.full_like(part, share))
            if grad_hidden is not None:
                grad_hidden[chunk] = grad @ factor
            if grad_weight is not None:
                _accumulate(grad_weight, grad, states.to(grad.dtype))
            if grad_bias is not None:
                grad_bias += grad.sum(0)
        of_head = (None if grad is None else grad.to(weight.dtype) for grad in (grad_weight, grad_bias))
        ctx.grads = (grad_hidden, *of_head)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias = (None if grad is None else grad * grads[0].to(grad.dtype) for grad in ctx.grads)
        return hidden, weight, bias, None, None, None, None, None


def chunked_loss(
    loss: Callable[..., Tensor],
    student_hidden: Tensor,
    student_head: nn.Linear,
    teacher_hidden: Tensor | None = None,
    teacher_head: Callable[[Tensor], Any] | None = None,
    target: Tensor | None = None,
    *,
    rows: int = ROWS,
    num_rows: float | None = None,
) -> Tensor:
    """A loss of the logits z = h Wᵀ + b that holds those of ``rows`` rows at a time, forward and backward.

    Of M rows (tokens) and C classes (a vocabulary), logits, their softmax and their gradient are (M, C) tensors, for
    student and teacher; here they are (rows, C). Nothing is computed twice: the gradients by hidden
    states and head are made while a chunk's logits are at hand. The value and the gradients are those of
    ``loss(student_head(student_hidden), teacher_head(teacher_hidden), target)``. No second derivative.

    Args:
        loss: what a row loses, the mean over rows, as ``loss(student_logits[, teacher_logits][, target])``:
            :func:`~distill.losses.kd_loss`, :func:`~distill.losses.reverse_kl_loss`, :func:`~distill.losses.jsd_loss`,
            :func:`~distill.losses.skew_kl_loss`, :func:`~distill.losses.tvd_loss`,
            ``torch.nn.functional.cross_entropy``, or a sum of such. One that compares rows with each other (DIST,
            MLKD) would compare those of a chunk only.
        student_hidden: h, the student's last hidden states, shape (M, D); rows that do not count left out.
        student_head: the student's output layer.
        teacher_hidden: the teacher's, shape (M, D'); without a gradient.
        teacher_head: the teacher's output layer, as many classes as the student's; or what else makes of its rows what
            ``loss`` is given as ``teacher_logits``.
        target: labels, shape (M,).
        rows: logits of how many rows are held.
        num_rows: what the sum over rows is divided by, instead of M: the number of rows of all micro-batches or
            processes that make up a step.

    Returns:
        A scalar, ``loss``'s unit.

    Raises:
        ValueError: shapes that do not belong together; ``rows`` is no integer above 0 or ``num_rows`` is not above 0.

    Source: the idea of Cut Cross-Entropy (Wijmans et al. 2024, arXiv:2411.09009) and Liger Kernel (Hsu et al. 2024,
    arXiv:2410.10989), here without kernels of its own.

    Example:
        >>> import torch
        >>> from distill.losses import kd_loss
        >>> h, student, teacher = torch.randn(5, 4), torch.nn.Linear(4, 9), torch.nn.Linear(4, 9)
        >>> whole = kd_loss(student(h), teacher(h))
        >>> torch.allclose(chunked_loss(kd_loss, h, student, h, teacher, rows=2), whole)
        True
    """
    whole("rows", rows)
    count = positive("num_rows", len(student_hidden) if num_rows is None else num_rows) if len(student_hidden) else 1.0
    _check(student_hidden, student_head, "student")
    if (teacher_hidden is None) != (teacher_head is None):
        raise ValueError("teacher_hidden and teacher_head belong together, got one of them")
    if teacher_hidden is not None and teacher_head is not None:
        if isinstance(teacher_head, nn.Linear):
            _check(teacher_hidden, teacher_head, "teacher")
        if len(teacher_hidden) != len(student_hidden):
            raise ValueError(
                f"student and teacher must hold the same rows, got {len(student_hidden)} and {len(teacher_hidden)}"
            )
        if isinstance(teacher_head, nn.Linear) and teacher_head.out_features != student_head.out_features:
            raise ValueError(
                "student and teacher must have as many classes, "
                f"got {student_head.out_features} and {teacher_head.out_features}"
            )
    if target is not None and target.shape != student_hidden.shape[:1]:
        raise ValueError(f"target must have shape ({len(student_hidden)},), got {tuple(target.shape)}")

    def others(chunk: slice) -> list[Tensor]:
        with torch.no_grad():
            given = [] if teacher_hidden is None or teacher_head is None else [teacher_head(teacher_hidden[chunk])]
        return given if target is None else [*given, target[chunk]]

    value: Tensor = _ChunkedLoss.apply(
        student_hidden, student_head.weight, student_head.bias, loss, others, rows, count, torch.is_grad_enabled()
    )
    return value


def _check(hidden: Tensor, head: nn.Linear, side: str) -> None:
    """A ValueError unless the head reads these hidden states."""
    if hidden.dim() != 2 or hidden.shape[1] != head.in_features:
        raise ValueError(
            f"{side}_hidden must have shape (M, {head.in_features}), as {side}_head reads, got {tuple(hidden.shape)}"
        )
