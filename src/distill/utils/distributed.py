"""Collectives of the processes of one job; each does nothing where a process is alone."""

from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from distill.utils import processes

T = TypeVar("T")
PATIENCE = timedelta(days=1)  # another job may be training the teacher that these wait for


def init_process_group(cuda: bool) -> None:
    """Connects this process with the others of its job.

    Args:
        cuda: whether they train on CUDA devices; tensors of the CPU travel in any case.
    """
    if processes.inside() and not distributed.is_initialized():
        distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=PATIENCE)


def is_distributed() -> bool:
    """Whether this process is connected with others."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def rank_and_world_size() -> tuple[int, int]:
    """This process's rank and the number of processes."""
    return (distributed.get_rank(), distributed.get_world_size()) if is_distributed() else (0, 1)


def is_rank_zero() -> bool:
    """Whether this is the process that writes."""
    return rank_and_world_size()[0] == 0


def broadcast_object(value: T) -> T:
    """The first process's value, in all of them."""
    if not is_distributed():
        return value
    values: list[Any] = [value]
    distributed.broadcast_object_list(values, src=0, device=torch.device("cpu"))
    first: T = values[0]
    return first


def all_reduce_sum(values: Tensor) -> Tensor:
    """The sum over the processes."""
    if is_distributed():
        distributed.all_reduce(values)
    return values


def all_reduce_any(value: bool, device: torch.device) -> bool:
    """Whether it is true in one of the processes."""
    return bool(all_reduce_sum(torch.tensor(int(value), device=device)).item()) if is_distributed() else value


def broadcast_buffers(module: nn.Module) -> None:
    """The first process's buffers (running statistics) in all."""
    if is_distributed():
        for buffer in module.buffers():
            distributed.broadcast(buffer, src=0)


def broadcast_state(module: nn.Module) -> None:
    """The first process's parameters and buffers in all: DDP keeps running statistics apart."""
    if is_distributed():
        for tensor in module.state_dict().values():
            distributed.broadcast(tensor, src=0)
