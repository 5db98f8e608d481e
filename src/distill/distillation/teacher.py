"""The teacher: a frozen model that is held, never owned."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from distill.data import Batch
from distill.distillation.feature_extractor import FeatureExtractor
from distill.models.outputs import Outputs
from distill.training.acceleration import cuda_graphs
from distill.training.acceleration.compilation import compile_teacher
from distill.training.acceleration.cuda_graphs import SideStream
from distill.utils import precision


class Teacher:
    """A frozen model that answers in eval mode, whatever is called.

    It is no ``nn.Module`` on purpose: kept as an attribute of the LightningModule it stays outside the student's
    module tree, and so out of its optimizer, its checkpoint and any wrapping for several processes.

    Args:
        model: a trained model whose forward gives logits.
        layers: module paths whose outputs the terms read.
        head: module path of the classifier, whose input is the embedding; None where no term reads it.
        precision: in which it answers on the training split (Lightning's names), whatever the student's is; None: the
            student's. On the other splits it is what is set around the call, as in every evaluation.
    """

    def __init__(
        self, model: nn.Module, layers: Iterable[str] = (), head: str | None = None, precision: str | None = None
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.precision = precision
        self._modules = tuple(model.modules())
        self._extractor = FeatureExtractor(model, layers, head)
        self._compiled = False
        self._side_stream: SideStream | None = None  # where the forward is captured
        self._captured_for: tuple[torch.Size, torch.device] | None = None
        self._around: Callable[[], AbstractContextManager[Any]] = nullcontext  # the student's precision
        self._coming: list[tuple[Batch, Outputs, Any]] = []  # what was begun ahead

    @torch.no_grad()
    def __call__(self, batch: Batch, split: str = "train") -> Outputs:
        """The outputs for one batch of a split, without gradient."""
        if split != "train":  # what was compiled is for the training's precision and grad mode, and may be folded
            self._stay()
            return self._extractor.eagerly(batch.inputs)
        if self._side_stream is not None:
            for known, outputs, done in self._coming:
                if known is batch:
                    self._side_stream.wait(done)
                    return outputs
            self._side_stream.join()  # a graph has one place for what it reads and gives
        return self._answer(batch)

    @torch.no_grad()
    def prefetch(self, batch: Batch) -> None:
        """Begins to answer a training batch that will be asked for later, beside what the device does until then.

        The same answers; where the forward of such a batch, on its device, is no CUDA graph, nothing is begun.
        """
        if self._side_stream is None or (batch.inputs.shape, batch.inputs.device) != self._captured_for:
            return
        self._coming = self._coming[-1:]  # the batch of the coming step, beside this one of the step after it
        try:
            with self._around():
                begun = self._side_stream.run(lambda: self._answer(batch).map(torch.clone))
        except torch.OutOfMemoryError:  # two more sets of answers than without
            self._stop_prefetch()
            return
        self._coming.append((batch, *begun))

    def _stop_prefetch(self) -> None:
        if self._side_stream is not None:
            self._side_stream.join()
        self._side_stream, self._coming = None, []

    def _stay(self) -> None:
        if any(module.training for module in self._modules):  # somebody called .train() on a part of it
            self.model.eval()

    def _answer(self, batch: Batch) -> Outputs:
        self._stay()
        if self.precision is None:
            return self._extractor(batch.inputs)
        kind = batch.index.device.type
        with precision.context(self.precision, kind):
            outputs = self._extractor(batch.inputs)
        return outputs if torch.is_autocast_enabled(kind) else _full(outputs)  # a student in float32 reads float32

    def prepare(
        self, inputs: Tensor, context: Callable[[], AbstractContextManager[Any]], compiled: bool, cuda_graph: bool
    ) -> None:
        """Compiles and captures what answers batches of this shape, where answers are computed at all."""
        self._around = context
        if self.precision is not None:
            context = partial(precision.context, self.precision, inputs.device.type)
        with cuda_graphs.uncached() if cuda_graph else nullcontext():
            if compiled and not self._compiled:
                self._compiled = True
                compile_teacher(self._extractor, inputs, context, "the teacher")
            if cuda_graph:
                try:
                    self._extractor.capture(inputs, context)
                    self._captured_for = inputs.shape, inputs.device
                    self._side_stream = SideStream(inputs.device) if cuda_graphs.INDEPENDENT else None
                except Exception as error:  # torch and CUDA raise several kinds
                    cuda_graphs.refused("the teacher", error)

    def release(self) -> None:
        """Gives back what was captured."""
        self._stop_prefetch()
        self._extractor.release()

    def start_epoch(self, epoch: int, max_epochs: int) -> None:
        """Nothing of a single teacher changes with the epochs."""

    def flush(self) -> None:
        """Nothing is left to write."""

    def to(self, device: torch.device) -> "Teacher":
        """Moves the model to a device."""
        self.model.to(device)
        return self


def _full(outputs: Outputs) -> Outputs:
    """The same in float32; what is float32 already is not copied."""
    return outputs.map(Tensor.float)
