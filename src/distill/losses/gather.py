"""A differentiable all_gather of the batch across processes, with correct gradients under DDP."""

from typing import Any

import torch
from torch import Tensor, distributed, nn

from distill.losses.checks import upcast


class _AllGather(torch.autograd.Function):
    """all_gather along axis 0, padded to the longest part; backward sums the gradients of all processes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        size = torch.tensor([len(x)], device=x.device)
        sizes = [torch.empty_like(size) for _ in range(distributed.get_world_size())]
        distributed.all_gather(sizes, size)
        lengths: list[int] = torch.cat(sizes).tolist()
        padded = x.new_zeros(max(lengths), *x.shape[1:])
        padded[: len(x)] = x
        parts = [torch.empty_like(padded) for _ in lengths]
        distributed.all_gather(parts, padded)
        ctx.begin, ctx.count = sum(lengths[: distributed.get_rank()]), len(x)
        return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = upcast(grad).clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total[ctx.begin : ctx.begin + ctx.count].to(grad.dtype)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _all_gather(x: Tensor) -> Any:
    return _AllGather.apply(x)


def gather(x: Tensor) -> Tensor:
    """The batches of all processes, in the order of their ranks; x as it is where there is one process.

    A gradient flows back to the process that the sample came from, *summed* over the losses of all W processes. DDP
    then averages over the processes, so that what is minimised is (1/W) Σ_r L_r: where every process computes the
    same loss L of the whole batch, the gradient is that of L, as on one device; where process r computes a loss L_r of
    its anchors against all samples, it is that of the mean of L_r.

    Every process must call it equally often, with tensors that differ in their first axis at most (the last batch of
    an epoch need not divide by W). The lengths are exchanged first, which waits for the device; ``torch.compile``
    breaks the graph here where there are several processes, and nowhere else. The losses call it in training mode
    only: an evaluation may run in one process alone, and would wait for the others for ever.

    Args:
        x: (N, ...), this process's part of the batch; labels (integers) have no gradient.

    Returns:
        (N_1 + ... + N_W, ...).

    Example:
        >>> gather(torch.ones(2, 3)).shape
        torch.Size([2, 3])
    """
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return x
    gathered: Tensor = _all_gather(x)
    return gathered


class BatchLoss(nn.Module):
    """A loss that compares the samples of a batch with one another.

    Args:
        gather: in training mode compare the samples of all processes, see :func:`gather`; otherwise, and in eval mode,
            those of this process's part of the batch.
    """

    def __init__(self, gather: bool = False) -> None:
        super().__init__()
        self.gather = gather

    def whole_batch(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The tensors, each (N, ...), with the samples that are compared."""
        return tuple(map(gather, tensors)) if self.gather and self.training else tensors
