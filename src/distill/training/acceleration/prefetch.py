"""The teacher's forward of the next batch, on a CUDA stream beside the student's step."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from distill.data import Batch
from distill.distillation.teacher import Teacher
from distill.models.outputs import Outputs
from distill.training.acceleration.cuda_graphs import get_stream


class SideStream:
    """Runs functions on a CUDA stream of their own, beside the current one."""

    def __init__(self, device: torch.device) -> None:
        self._stream = get_stream(device, "prefetch")

    def run(self, function: Callable[[], Any]) -> tuple[Any, Any]:
        """Run a function after all work queued so far; its result, and what :meth:`wait` takes before it is read."""
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


class PrefetchedForward:
    """A teacher's forward whose result for a batch may be there already.

    Args:
        teacher: its forward is captured as a CUDA graph.
        inputs: a batch of the captured shape.
        context: the precision of the student's step.
    """

    def __init__(self, teacher: Teacher, inputs: Tensor, context: Callable[[], AbstractContextManager[Any]]) -> None:
        self._teacher = teacher
        self._layout = inputs.shape, inputs.device
        self._context = context
        self._stream: SideStream | None = SideStream(inputs.device)
        self._pending: list[tuple[Batch, Outputs, Any]] = []  # batch, outputs, event

    def __call__(self, batch: Batch) -> Outputs:
        """The outputs for one batch of the training split."""
        if self._stream is not None:
            for known, outputs, event in self._pending:
                if known is batch:
                    self._stream.wait(event)
                    return outputs
            self._stream.join()  # a graph has one memory for its inputs and outputs
        return self._teacher.forward(batch)

    @torch.no_grad()
    def prefetch(self, batch: Batch) -> None:
        """Launch the forward of a batch of a later step; nothing, unless the captured graph takes the batch."""
        if self._stream is None or (batch.inputs.shape, batch.inputs.device) != self._layout:
            return
        self._pending = self._pending[-1:]  # that of the coming step, beside this one of the step after it
        try:
            with self._context():
                launched = self._stream.run(lambda: self._teacher.forward(batch).map(torch.clone))
        except torch.OutOfMemoryError:  # prefetching holds two more sets of outputs
            self.stop()
            return
        self._pending.append((batch, *launched))

    def stop(self) -> None:
        """Compute every batch when it is asked for, from now on."""
        if self._stream is not None:
            self._stream.join()
        self._stream, self._pending = None, []
