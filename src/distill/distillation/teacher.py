"""The teacher: a frozen model outside the student's module tree."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from distill.data import Batch
from distill.distillation.feature_extractor import FeatureExtractor
from distill.models.outputs import Outputs
from distill.utils import precision


class Teacher:
    """A frozen model that predicts in eval mode and without gradient.

    It is no ``nn.Module`` on purpose: kept as an attribute of the LightningModule it stays outside the student's
    module tree, and so out of its optimizer, its checkpoint and any wrapping for several processes.

    Args:
        model: a trained model whose forward returns logits.
        layers: keys of the layers whose outputs the terms read.
        head: module path of the classifier, whose input is the embedding; None where no term reads it.
        precision: in which it predicts on the training split (Lightning's names); None: the student's. On the other
            splits it is what is set around the call, as in every evaluation.

    Attributes:
        fast_forward: used on the training split instead of :meth:`forward`; set by ``distill.training.acceleration``.
    """

    def __init__(
        self, model: nn.Module, layers: Iterable[str] = (), head: str | None = None, precision: str | None = None
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.precision = precision
        self.extractor = FeatureExtractor(model, layers, head)
        self.fast_forward: Callable[[Batch], Outputs] | None = None
        self._modules = tuple(model.modules())

    @torch.no_grad()
    def __call__(self, batch: Batch, split: str = "train") -> Outputs:
        """The outputs for one batch of a split ("train", "val", "test")."""
        if split != "train":  # a compiled forward is for the training's precision, and its weights may be folded
            self._ensure_eval()
            return self.extractor.eager(batch.for_teacher)
        return (self.fast_forward or self.forward)(batch)

    def forward(self, batch: Batch) -> Outputs:
        """The outputs for one batch of the training split, in the teacher's precision."""
        self._ensure_eval()
        if self.precision is None:
            return self.extractor(batch.for_teacher)
        device_type = batch.index.device.type
        with precision.context(self.precision, device_type):
            outputs = self.extractor(batch.for_teacher)
        # a student in float32 reads float32; what is float32 already is not copied
        return outputs if torch.is_autocast_enabled(device_type) else outputs.map(Tensor.float)

    def _ensure_eval(self) -> None:
        if any(module.training for module in self._modules):  # .train() was called on a part of it
            self.model.eval()

    def live_teachers(self, every_batch: bool = False) -> list["Teacher"]:
        """The teachers whose models compute, rather than read from a cache, in the present training epoch.

        Args:
            every_batch: only those that compute all batches of the epoch.
        """
        del every_batch
        return [self]

    def start_epoch(self, epoch: int, max_epochs: int) -> None:
        """Update scheduled values for ``epoch``, counted from 0: nothing, for a single teacher."""

    def flush(self) -> None:
        """Write what is not on disk yet: nothing, for a teacher without a cache."""

    def to(self, device: torch.device) -> "Teacher":
        """Move the model to a device."""
        self.model.to(device)
        return self
