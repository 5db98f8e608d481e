"""CUDA graphs: capture the many small kernels of a function once, and launch them in one call.

A training step of a small student is hundreds of kernels of a few microseconds each, and launching them one by one
takes longer than running them.
"""

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.torch_version import TorchVersion

from distill.utils.errors import first_line

log = logging.getLogger(__name__)

WARM_UP = 3  # eager runs before the capture, in which libraries choose kernels and allocate workspaces
# Before torch 2.11 each replay may write the random state of all graphs, so that two cannot run side by side.
INDEPENDENT = TorchVersion(torch.__version__) >= "2.11"
LARGEST = 4 << 30  # bytes that a graph may hold; larger steps are not limited by launches


class GraphedCallable:
    """A function of tensors of fixed shapes, captured as a CUDA graph.

    Args:
        function: of tensors on one CUDA device. It must not synchronise host and device; whatever changes between
            calls must be an argument, a parameter or a buffer.
        arguments: examples; every call has their shapes, dtypes and strides.
        modules: whose buffers the function changes; the capture leaves them as they were.
        parameters: whose gradients the function computes; they are ``None`` before each run of it.
        stream: name of the stream on which it is captured, see ``get_stream``; graphs that run side by side need
            different ones.

    Raises:
        RuntimeError: the function cannot be captured, or would hold more than ``LARGEST`` bytes.
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
        capture_stream = get_stream(device, stream)
        self._arguments = [torch.empty_like(value).copy_(value) for value in arguments]
        self._parameters = tuple(parameters)
        buffers = [(buffer, buffer.clone()) for module in modules for buffer in module.buffers()]
        rng_state = torch.cuda.get_rng_state(device)
        reserved = torch.cuda.memory_reserved(device)
        try:
            with no_autocast_cache():
                self._warm_up(function, capture_stream)
                if torch.cuda.memory_reserved(device) - reserved > LARGEST:
                    raise RuntimeError("its step takes too much memory to hold it for good")
                self._reset_gradients()
                self._graph = torch.cuda.CUDAGraph()
                # thread_local: other threads may use CUDA meanwhile, for instance to pin batches
                with torch.cuda.graph(self._graph, stream=capture_stream, capture_error_mode="thread_local"):
                    self._result = function(*self._arguments)
        finally:
            for buffer, value in buffers:
                with torch.no_grad():
                    buffer.copy_(value)
            torch.cuda.set_rng_state(rng_state, device)
        self._gradients = [parameter.grad for parameter in self._parameters]

    def _reset_gradients(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None

    def _warm_up(self, function: Callable[..., Any], stream: Any) -> None:
        current: Any = torch.cuda.current_stream(stream.device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            for i in range(WARM_UP):
                self._reset_gradients()
                with _synchronising_is_an_error() if i else nullcontext():
                    function(*self._arguments)
        current.wait_stream(stream)

    def __call__(self, *arguments: Tensor) -> Any:
        """Replay the graph; its result, and the parameters' gradients, are overwritten by the next call."""
        for static, value in zip(self._arguments, arguments, strict=True):
            static.copy_(value, non_blocking=True)
        self._graph.replay()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        return self._result


@cache
def get_stream(device: torch.device, name: str) -> Any:  # noqa: ARG001
    """One CUDA stream per name, for the whole process.

    cuBLAS has one workspace per stream, and a graph keeps that of its capture: those of two graphs that run side by
    side must differ. Streams created for each capture would share one after a while: CUDA has a pool of 32.
    """
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


class SideStream:
    """Runs functions on a CUDA stream beside the current one, for prefetching."""

    def __init__(self, device: torch.device) -> None:
        self._stream = get_stream(device, "prefetch")

    def run(self, function: Callable[[], Any]) -> tuple[Any, Any]:
        """Run a function after all work queued so far; returns its result and the event to :meth:`wait` for."""
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            return function(), self._stream.record_event()

    def wait(self, event: Any) -> None:
        """Make the current stream wait for a run.

        The memory of its result needs no ``record_stream``: it is reused by a later run only, which begins after all
        work queued before it on the current stream.
        """
        torch.cuda.current_stream(self._stream.device).wait_event(event)

    def join(self) -> None:
        """Make the current stream wait for all runs."""
        torch.cuda.current_stream(self._stream.device).wait_stream(self._stream)


def log_failure(name: str, error: Exception) -> None:
    """Log why a function is not captured."""
    log.info(f"{name} is not captured as a CUDA graph: {type(error).__name__}: {first_line(error)}")


@contextmanager
def _synchronising_is_an_error() -> Iterator[None]:
    """Raise on synchronisation of host and device, which cannot be captured."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*[Ss]ynchronization debug mode is a prototype.*")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@contextmanager
def no_autocast_cache() -> Iterator[None]:
    """Disable autocast's weight cache: a graph would replay with the weights cast at its capture."""
    enabled = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    torch.clear_autocast_cache()
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(enabled)
