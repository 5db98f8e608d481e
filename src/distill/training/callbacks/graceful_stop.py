"""Stop on Ctrl-C or SIGTERM without losing a step."""

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as L

from distill.utils import distributed
from distill.utils.errors import Interrupted


class GracefulStop(L.Callback):
    """On Ctrl-C or SIGTERM finish the step, write ``last.ckpt`` and stop; a second Ctrl-C stops at once.

    All processes of a job stop after the same step. They exchange the flag after every step on a CPU; on other
    devices, where that would synchronise host and device, every ``every_n_steps`` steps.

    Args:
        checkpoint: the file to write.
        every_n_steps: interval in steps, on devices other than a CPU.

    Raises:
        Interrupted: from the hook after which the training stops.
    """

    def __init__(self, checkpoint: Path, every_n_steps: int = 20) -> None:
        self.checkpoint = checkpoint
        self.every_n_steps = every_n_steps
        self.asked = False
        self._handlers: dict[int, Any] = {}  # to restore

    def _request(self, signum: int, _frame: FrameType | None) -> None:
        if self.asked and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True
        if distributed.is_rank_zero():
            print("\nStopping after this step (Ctrl-C again to stop at once)", file=sys.stderr, flush=True)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for signum in (signal.SIGINT, signal.SIGTERM):
            self._handlers[signum] = signal.signal(signum, self._request)

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        device = trainer.strategy.root_device
        if distributed.is_distributed():
            if device.type != "cpu" and trainer.global_step % self.every_n_steps and not trainer.is_last_batch:
                return
            self.asked = distributed.all_reduce_any(self.asked, device)
        if self.asked and not trainer.is_last_batch:  # after the last batch, the epoch's validation runs first
            trainer.save_checkpoint(self.checkpoint)
            raise Interrupted(trainer.current_epoch, trainer.global_step)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the epoch's checkpoint; ModelCheckpoint, which runs later, overwrites it with its own state."""
        if self._any_asked(trainer):
            trainer.save_checkpoint(self.checkpoint)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop between two epochs."""
        self.on_train_end(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop after the last epoch, before the tests."""
        if self._any_asked(trainer):
            raise Interrupted(trainer.current_epoch - 1, trainer.global_step)

    def _any_asked(self, trainer: L.Trainer) -> bool:
        self.asked = distributed.all_reduce_any(self.asked, trainer.strategy.root_device)
        return self.asked

    def _restore_handlers(self) -> None:
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)
        self._handlers = {}

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._restore_handlers()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._restore_handlers()
