"""CUDA graphs: hundreds of small kernels that the host launches in one call.

A step of a small student is many kernels of a few microseconds each. Launched one by one, they leave the GPU waiting
for the host; captured once and replayed, they follow one another.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.torch_version import TorchVersion

from distill.utils.errors import first_line

WARM_UP = 3  # runs before the capture: kernels are chosen, and lazily made state is there
INDEPENDENT = TorchVersion(torch.__version__) >= "2.11"  # before, each replay may write the random state of all graphs
LARGEST = 4 << 30  # bytes that a graph may hold for good; a step that takes more keeps a GPU busy anyhow


class Graph:
    """A function of tensors of one shape, captured.

    Args:
        function: of tensors on one CUDA device. It must not wait for the device, and must depend on nothing that
            changes but its arguments, parameters and buffers.
        arguments: examples; shapes, types and layouts are those of every call.
        modules: whose buffers the function changes; they are afterwards as they were before.
        parameters: whose gradients the function computes; they are ``None`` before each run of it.
        stream: on which it is captured; graphs that run side by side are of different ones (see ``_stream``).

    Raises:
        RuntimeError: the function cannot be captured, or would hold more than ``LARGEST``.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: Sequence[Tensor],
        modules: Iterable[nn.Module] = (),
        parameters: Iterable[nn.Parameter] = (),
        stream: str = "step",
    ) -> None:
        device = arguments[0].device
        own = _stream(device, stream)
        self._arguments = [torch.empty_like(value).copy_(value) for value in arguments]
        self._parameters = tuple(parameters)
        buffers = [(buffer, buffer.clone()) for module in modules for buffer in module.buffers()]
        random = torch.cuda.get_rng_state(device)
        before = torch.cuda.memory_reserved(device)
        try:
            with uncached():
                self._warm_up(function, own)
                if torch.cuda.memory_reserved(device) - before > LARGEST:
                    raise RuntimeError("its step takes too much memory to hold it for good")
                self._forget()
                self._graph = torch.cuda.CUDAGraph()
                # other threads go on: the one that pins batches for the device, say
                with torch.cuda.graph(self._graph, stream=own, capture_error_mode="thread_local"):
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

    def _warm_up(self, function: Callable[..., Any], stream: Any) -> None:
        present: Any = torch.cuda.current_stream(stream.device)
        stream.wait_stream(present)
        with torch.cuda.stream(stream):
            for i in range(WARM_UP):
                self._forget()
                with _no_waiting() if i else nullcontext():
                    function(*self._arguments)
        present.wait_stream(stream)

    def __call__(self, *arguments: Tensor) -> Any:
        """One run; its result, and the parameters' gradients, are overwritten by the next."""
        for kept, value in zip(self._arguments, arguments, strict=True):
            kept.copy_(value, non_blocking=True)
        self._graph.replay()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        return self._result


class SideStream:
    """Runs a function beside what the device does next.

    Args:
        device: a CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = _stream(device, "beside")

    def run(self, function: Callable[[], Any]) -> tuple[Any, Any]:
        """Begins it once all that was asked of the device before is done.

        Returns:
            Its result, in memory of its own, and what :meth:`wait` takes before anybody reads it.
        """
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            return function(), self._stream.record_event()

    def wait(self, done: Any) -> None:
        """Lets what follows come after a run.

        The memory of its result need not be recorded as used here: it is given to a later run only, and that begins
        after all that was asked of the device before it.
        """
        torch.cuda.current_stream(self._stream.device).wait_event(done)

    def join(self) -> None:
        """Lets what follows come after all runs."""
        torch.cuda.current_stream(self._stream.device).wait_stream(self._stream)


@cache
def _stream(device: torch.device, name: str) -> Any:  # noqa: ARG001
    """One stream per use for good.

    cuBLAS has one workspace per stream, and a graph keeps that of its capture: those of two graphs that run side by
    side must not be the same. Streams made anew for each capture would be, after a while: CUDA hands out 32 in turn.
    """
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


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
