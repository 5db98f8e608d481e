"""CUDA graphs: hundreds of small kernels that the host launches in one call.

A step of a small student is many kernels of a few microseconds each. Launched one by one, they leave the GPU waiting
for the host; captured once and replayed, they follow one another.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from distill.errors import first_line

WARM_UP = 3  # runs before the capture: kernels are chosen, and lazily made state is there
LARGEST = 4 << 30  # bytes that a graph may hold for good; a step that takes more keeps a GPU busy anyhow


class Graph:
    """A function of tensors of one shape, captured.

    Args:
        function: of tensors on one CUDA device. It must not wait for the device, and must depend on nothing that
            changes but its arguments, parameters and buffers.
        arguments: examples; shapes, types and layouts are those of every call.
        modules: whose buffers the function changes; they are afterwards as they were before.
        parameters: whose gradients the function computes; they are ``None`` before each run of it.

    Raises:
        RuntimeError: the function cannot be captured, or would hold more than ``LARGEST``.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: Sequence[Tensor],
        modules: Iterable[nn.Module] = (),
        parameters: Iterable[nn.Parameter] = (),
    ) -> None:
        device = arguments[0].device
        self._arguments = [torch.empty_like(value).copy_(value) for value in arguments]
        self._parameters = tuple(parameters)
        buffers = [(buffer, buffer.clone()) for module in modules for buffer in module.buffers()]
        random = torch.cuda.get_rng_state(device)
        before = torch.cuda.memory_reserved(device)
        try:
            with uncached():
                self._warm_up(function, device)
                if torch.cuda.memory_reserved(device) - before > LARGEST:
                    raise RuntimeError("its step takes too much memory to hold it for good")
                self._forget()
                self._graph = torch.cuda.CUDAGraph()
                # other threads go on: the one that pins batches for the device, say
                with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                    self._result = function(*self._arguments)
        finally:
            for buffer, value in buffers:
                with torch.no_grad():
                    buffer.copy_(value)
            torch.cuda.set_rng_state(random, device)
        self._gradients = [parameter.grad for parameter in self._parameters]

    def _forget(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None

    def _warm_up(self, function: Callable[..., Any], device: torch.device) -> None:
        stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for i in range(WARM_UP):
                self._forget()
                with _no_waiting() if i else nullcontext():
                    function(*self._arguments)
        torch.cuda.current_stream(device).wait_stream(stream)

    def __call__(self, *arguments: Tensor) -> Any:
        """One run; its result, and the parameters' gradients, are overwritten by the next."""
        for kept, value in zip(self._arguments, arguments, strict=True):
            kept.copy_(value, non_blocking=True)
        self._graph.replay()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        return self._result


def refused(name: str, error: Exception) -> None:
    """Says that there is no graph, and why."""
    print(f"{name} is not captured as a CUDA graph: {type(error).__name__}: {first_line(error)}", flush=True)


@contextmanager
def _no_waiting() -> Iterator[None]:
    """What waits for the device is an error: it could not be captured."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*[Ss]ynchronization debug mode is a prototype.*")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@contextmanager
def uncached() -> Iterator[None]:
    """Autocast keeps no weights that it has cast: a graph would go on with those of its capture."""
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    torch.clear_autocast_cache()
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)
