"""A teacher whose forward is compiled, captured as a CUDA graph, or both, and may run one batch ahead."""

from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from distill.data import Batch
from distill.distillation.feature_extractor import FixedShapeForward
from distill.distillation.teacher import Teacher
from distill.models.outputs import Outputs
from distill.training.acceleration import cuda_graphs
from distill.training.acceleration.compilation import Context, compile_teacher
from distill.training.acceleration.cuda_graphs import GraphedCallable, SideStream, no_autocast_cache
from distill.utils import precision


class AcceleratedTeacher:
    """Replaces a teacher's forward on full training batches by a faster one, until :meth:`release`.

    Args:
        teacher: stays the object that is called.
        compiled: whether its forward is compiled.
        cuda_graph: whether its forward is captured as a CUDA graph.
        prefetch: whether the captured forward of the next batch may run beside the student's step.
    """

    def __init__(self, teacher: Teacher, compiled: bool, cuda_graph: bool, prefetch: bool = False) -> None:
        self.teacher = teacher
        self.compiled, self.cuda_graph = compiled, cuda_graph
        self._can_prefetch = prefetch and cuda_graphs.INDEPENDENT
        self._captured = False
        self._uncaptured: FixedShapeForward | None = None  # the forward before the capture
        self._stream: SideStream | None = None  # None: no prefetching
        self._context: Context = nullcontext  # the precision of the student's step
        self._layout: tuple[torch.Size, torch.device] | None = None
        self._pending: list[tuple[Batch, Outputs, Any]] = []  # prefetched: batch, outputs, event

    def prepare(self, inputs: Tensor, context: Context) -> None:
        """Compile and capture for the shape of ``inputs``, in the training's precision; log failures."""
        teacher, teacher_context = self.teacher, context
        if teacher.precision is not None:
            teacher_context = partial(precision.context, teacher.precision, inputs.device.type)
        with no_autocast_cache() if self.cuda_graph else nullcontext():
            if self.compiled:
                self.compiled = False  # only once, even if it fails
                compile_teacher(teacher.extractor, inputs, teacher_context, "the teacher")
            if not self.cuda_graph:
                return
            self._uncaptured = teacher.extractor.fast_forward
            try:
                teacher.extractor.fast_forward = self._capture(inputs, teacher_context)
                self._captured = True
                if self._can_prefetch:
                    self._context, self._layout = context, (inputs.shape, inputs.device)
                    self._stream, self._pending = SideStream(inputs.device), []
                    teacher.fast_forward = self._forward
            except Exception as error:  # torch and CUDA raise several kinds
                cuda_graphs.log_failure("the teacher", error)

    def _capture(self, inputs: Tensor, context: Context) -> FixedShapeForward:
        """The forward as a CUDA graph without backward; its outputs are overwritten by the next call."""
        extractor = self.teacher.extractor
        forward = extractor.fast_forward.function if extractor.fast_forward is not None else extractor.eager

        def compute(inputs: Tensor) -> Outputs:
            with torch.no_grad(), context():
                return forward(inputs)

        graph = GraphedCallable(compute, [inputs], stream="teacher")
        return FixedShapeForward(graph, inputs.shape, extractor.model.training)

    def _forward(self, batch: Batch) -> Outputs:
        """The teacher's outputs for a training batch, prefetched or computed now."""
        if self._stream is not None:
            for known, outputs, event in self._pending:
                if known is batch:
                    self._stream.wait(event)
                    return outputs
            self._stream.join()  # a graph has one memory for its inputs and outputs
        return self.teacher.forward(batch)

    @torch.no_grad()
    def prefetch(self, batch: Batch) -> None:
        """Launch the forward of a batch of a later step; nothing, unless the captured graph takes the batch."""
        if self._stream is None or (batch.inputs.shape, batch.inputs.device) != self._layout:
            return
        self._pending = self._pending[-1:]  # keep the coming step's, beside this one of the step after it
        try:
            with self._context():
                launched = self._stream.run(lambda: self.teacher.forward(batch).map(torch.clone))
        except torch.OutOfMemoryError:  # prefetching holds two more sets of outputs
            self._stop_prefetching()
            return
        self._pending.append((batch, *launched))

    def _stop_prefetching(self) -> None:
        if self._stream is not None:
            self._stream.join()
        self._stream, self._pending = None, []

    def release(self) -> None:
        """Free the captured graph; the teacher's forward is what it was before the capture."""
        self._stop_prefetching()
        self.teacher.fast_forward = None
        if self._captured:
            self._captured = False
            self.teacher.extractor.fast_forward = self._uncaptured
