"""A teacher whose forward is compiled, captured as a CUDA graph, or both."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from distill.data import Batch
from distill.distillation.feature_extractor import FixedShapeForward
from distill.distillation.teacher import Teacher
from distill.models.outputs import Outputs
from distill.training.acceleration import cuda_graphs
from distill.training.acceleration.compilation import compile_teacher
from distill.training.acceleration.cuda_graphs import GraphedCallable, no_autocast_cache
from distill.training.acceleration.prefetch import PrefetchedForward
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
        self.compiled = compiled
        self.cuda_graph = cuda_graph
        self.prefetched = prefetch and cuda_graphs.INDEPENDENT
        self._prefetcher: PrefetchedForward | None = None
        self._captured = False
        self._uncaptured: FixedShapeForward | None = None  # the forward before the capture

    def prepare(self, inputs: Tensor, context: Callable[[], AbstractContextManager[Any]]) -> None:
        """Compile and capture for the shape of ``inputs``, in the training's precision; print what fails."""
        teacher, own_context = self.teacher, context
        if teacher.precision is not None:
            own_context = partial(precision.context, teacher.precision, inputs.device.type)
        with no_autocast_cache() if self.cuda_graph else nullcontext():
            if self.compiled:
                self.compiled = False  # once, whatever becomes of it
                compile_teacher(teacher.extractor, inputs, own_context, "the teacher")
            if not self.cuda_graph:
                return
            self._uncaptured = teacher.extractor.fast_forward
            try:
                teacher.extractor.fast_forward = self._capture(inputs, own_context)
                self._captured = True
                if self.prefetched:
                    self._prefetcher = teacher.fast_forward = PrefetchedForward(teacher, inputs, context)
            except Exception as error:  # torch and CUDA raise several kinds
                cuda_graphs.print_failure("the teacher", error)

    def _capture(self, inputs: Tensor, context: Callable[[], AbstractContextManager[Any]]) -> FixedShapeForward:
        """The forward as a CUDA graph without backward; its outputs are overwritten by the next call."""
        extractor = self.teacher.extractor
        forward = extractor.fast_forward.function if extractor.fast_forward is not None else extractor.eager

        def compute(inputs: Tensor) -> Outputs:
            with torch.no_grad(), context():
                return forward(inputs)

        graph = GraphedCallable(compute, [inputs], stream="teacher")
        return FixedShapeForward(graph, inputs.shape, extractor.model.training)

    def prefetch(self, batch: Batch) -> None:
        """Launch the forward of a batch of a later step, where that is possible."""
        if self._prefetcher is not None:
            self._prefetcher.prefetch(batch)

    def release(self) -> None:
        """Free the captured graph; the teacher's forward is what it was before the capture."""
        if self._prefetcher is not None:
            self._prefetcher.stop()
            self._prefetcher = self.teacher.fast_forward = None
        if self._captured:
            self._captured = False
            self.teacher.extractor.fast_forward = self._uncaptured
