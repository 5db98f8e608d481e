"""Collectives of the processes of one job; each does nothing where a process is alone."""

import os
import socket
import sys
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed

from distill.utils import processes
from distill.utils.errors import UserError

T = TypeVar("T")
PATIENCE = timedelta(days=1)  # another job may be training the teacher that these wait for


def init_process_group(cuda: bool) -> None:
    """Connects this process with the others of its job.

    Args:
        cuda: whether they train on CUDA devices; tensors of the CPU travel in any case.
    """
    if not processes.inside() or distributed.is_initialized():
        return
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    if processes.OURS not in os.environ:  # torchrun's, of several machines perhaps
        distributed.init_process_group(backend, timeout=PATIENCE)
        return
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    for library in ("GLOO", "NCCL"):
        os.environ.setdefault(f"{library}_SOCKET_IFNAME", loopback)
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    distributed.init_process_group(
        backend, timeout=PATIENCE, store=_loopback_store(rank, world_size), rank=rank, world_size=world_size
    )


def _loopback_store(rank: int, world_size: int) -> Any:
    """The store of processes of one machine; torch's own would listen on every interface."""
    host, port, listening = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), None
    if rank == 0:
        listening = socket.create_server((host, port), backlog=world_size).detach()  # torch closes it
    return distributed.TCPStore(  # type: ignore[attr-defined]
        host, port, world_size, rank == 0, PATIENCE, master_listen_fd=listening
    )


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
    return cast(T, values[0])


def computed_once(compute: Callable[[], T]) -> T:
    """What the first process computes, in all of them; its ``UserError`` likewise."""
    if not is_distributed():
        return compute()
    result: T | UserError | None = None
    if is_rank_zero():
        try:
            result = compute()
        except UserError as error:
            result = error
    result = broadcast_object(result)
    if isinstance(result, UserError):
        raise result
    return cast(T, result)


def all_reduce_sum(values: Tensor) -> Tensor:
    """The sum over the processes."""
    if is_distributed():
        distributed.all_reduce(values)
    return values


def all_reduce_any(value: bool, device: torch.device) -> bool:
    """Whether it is true in one of the processes."""
    return bool(all_reduce_sum(torch.tensor(int(value), device=device)).item()) if is_distributed() else value


def broadcast_tensors(tensors: Iterable[Tensor]) -> None:
    """The first process's values in all, written into the tensors."""
    if is_distributed():
        for tensor in tensors:
            distributed.broadcast(tensor, src=0)
