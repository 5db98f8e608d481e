"""The teacher: a frozen model that is held, never owned."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from distill.compiling import compile_teacher
from distill.data import Batch
from distill.taps import Outputs, Tap


class Teacher:
    """A frozen model that answers in eval mode, whatever is called.

    It is no ``nn.Module`` on purpose: kept as an attribute of the LightningModule it stays outside the student's
    module tree, and so out of its optimizer, its checkpoint and any wrapping for several processes.

    Args:
        model: a trained model whose forward gives logits.
        layers: module paths whose outputs the terms read.
        head: module path of the classifier, whose input is the embedding; None where no term reads it.
    """

    def __init__(self, model: nn.Module, layers: Iterable[str] = (), head: str | None = None) -> None:
        self.model = model.eval().requires_grad_(False)
        self._modules = tuple(model.modules())
        self._tap = Tap(model, layers, head)

    @torch.no_grad()
    def __call__(self, batch: Batch, split: str = "train") -> Outputs:  # noqa: ARG002
        """The outputs for one batch of a split, without gradient."""
        if any(module.training for module in self._modules):  # somebody called .train() on a part of it
            self.model.eval()
        return self._tap(batch.inputs)

    def compile(self, inputs: Tensor, context: Callable[[], AbstractContextManager[Any]]) -> None:
        """Compiles what answers batches of this shape, where answers are computed at all."""
        compile_teacher(self._tap, inputs, context, "the teacher")

    def start_epoch(self, epoch: int, max_epochs: int) -> None:
        """Nothing of a single teacher changes with the epochs."""

    def flush(self) -> None:
        """Nothing is left to write."""

    def to(self, device: torch.device) -> "Teacher":
        """Moves the model to a device."""
        self.model.to(device)
        return self
