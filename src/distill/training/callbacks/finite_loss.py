"""Stop when the loss is NaN or infinite."""

from typing import Any

import lightning.pytorch as L
import torch

from distill.utils.errors import UserError


class FiniteLoss(L.Callback):
    """Stop the run when a term of the loss is NaN or infinite, and name the term and the step.

    The values are read after every step on a CPU. On other devices they are kept there and read every
    ``every_n_steps`` steps and before the epoch's checkpoint, so that no step synchronises host and device.

    Args:
        every_n_steps: interval in steps, on devices other than a CPU.

    Raises:
        UserError: a value is not finite.
    """

    def __init__(self, every_n_steps: int = 50) -> None:
        self.every_n_steps = every_n_steps
        self._names: tuple[str, ...] = ()
        self._pending: list[tuple[int, torch.Tensor]] = []  # step, values of its terms

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        means = pl_module.means["train"]
        if means.names != self._names:
            self._check()
            self._names = means.names
        self._pending.append((trainer.global_step, means.last))
        if len(self._pending) >= self.every_n_steps or means.last.device.type == "cpu":
            self._check()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._check()

    def _check(self) -> None:
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        bad = ~torch.isfinite(torch.stack([values for _, values in pending]))
        if not bad.any():
            return
        row, *_ = bad.any(1).nonzero()[0].tolist()
        wrong = [name for name, is_bad in zip(self._names, bad[row].tolist(), strict=True) if is_bad]
        term = next((name for name in wrong if name != "loss"), "total")
        raise UserError(
            f"loss term '{term}' is not finite (NaN or infinite) at step {pending[row][0]}; "
            "lower the learning rate or the term's weight, or set trainer.gradient_clip_val"
        )
