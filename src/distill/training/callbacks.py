"""Callbacks that guard a training."""

import logging
import math
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as L
import torch

from distill.utils import distributed
from distill.utils.errors import Interrupted, UserError
from distill.utils.processes import usable_cores

log = logging.getLogger(__name__)


class DataWait(L.Callback):
    """Print one line, once per training, if data loading limits its speed.

    Args:
        label: what is trained.
        share: least share of an epoch's time, without validation, that is reported.
        seconds: least seconds of an epoch that are reported.
    """

    def __init__(self, label: str, share: float = 0.2, seconds: float = 1.0) -> None:
        self.label, self.share, self.seconds = label, share, seconds
        self._reported = False
        self._wait_s = self._step_s = self._mark = self._prefetch_s = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.on_train_epoch_start(trainer, pl_module)  # a run resumed in mid-epoch starts no epoch

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._wait_s = self._step_s = 0.0
        self._mark = time.perf_counter()

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        now, prefetch_s = time.perf_counter(), getattr(trainer.train_dataloader, "prefetch_s", 0.0)
        launched, self._prefetch_s = max(0.0, prefetch_s - self._prefetch_s), prefetch_s
        self._wait_s += now - self._mark - launched  # without the teacher's forward launched by the loader
        self._step_s += launched
        self._mark = now

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        now = time.perf_counter()
        self._step_s += now - self._mark
        self._mark = now
        total = self._wait_s + self._step_s
        share = self._wait_s / total
        if trainer.is_last_batch and share > self.share and self._wait_s > self.seconds and not self._reported:
            self._reported = True
            loader: Any = trainer.train_dataloader
            log.info(
                f"{self.label}: {100 * share:.0f} % of the epoch's {total:.1f} s went by waiting "
                f"for data (data.num_workers is {loader.num_workers}, {usable_cores()} cores can be used)"
            )


class FiniteLoss(L.Callback):
    """Stop the run when a term of the loss is NaN or infinite, and name the term and the step; warn when it explodes.

    It stops as well where the loss on validation is NaN.

    It explodes when its mean over an epoch is more than ``EXPLODED`` times what it was in the first step. A first step
    below ``EASY`` counts as ``EASY``: its batch may be an easy one, as of texts of one length.

    On a CPU the values are read after every step; on other devices every ``every_n_steps`` steps and before the epoch's
    checkpoint, so that other steps do not synchronise host and device.

    Args:
        every_n_steps: interval in steps, on devices other than a CPU.

    Raises:
        UserError: a value is not finite.
    """

    EXPLODED, EASY = 4, 0.5
    REMEDY = "lower the learning rate or the term's weight, or set trainer.gradient_clip_val"

    def __init__(self, every_n_steps: int = 50) -> None:
        self.every_n_steps = every_n_steps
        self._names: tuple[str, ...] = ()
        self._pending: list[tuple[int, torch.Tensor]] = []  # step, values of the terms
        self._first = math.nan
        self._epoch: list[float] = []  # the loss of each step

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._epoch = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        means = pl_module.means["train"]
        if means.names != self._names:
            self._check()
            self._names = means.names
        self._pending.append((trainer.global_step, means.last))
        if len(self._pending) >= self.every_n_steps or means.last.device.type == "cpu":
            self._check()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._check()
        if torch.isnan(torch.as_tensor(trainer.callback_metrics.get("val/loss", 0.0))):
            raise UserError(
                f"the loss on validation is NaN after epoch {trainer.current_epoch + 1}, and that on train is not: "
                "look at what the model does in evaluation mode, as the running statistics of its normalisation"
            )

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._check()
        mean = sum(self._epoch) / max(1, len(self._epoch))
        if mean > self.EXPLODED * max(self._first, self.EASY):
            log.warning(
                f"the loss grew from {self._first:.3g} in the first step to {mean:.3g} on average in epoch "
                f"{trainer.current_epoch + 1}: the training diverges; {self.REMEDY}"
            )
            self._first = math.inf  # said once

    def _check(self) -> None:
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        stacked = torch.stack([values for _, values in pending])
        bad = ~torch.isfinite(stacked)
        if not bad.any():
            losses = stacked[:, self._names.index("loss")].tolist() if "loss" in self._names else [math.nan]
            self._first = losses[0] if math.isnan(self._first) else self._first
            self._epoch += losses
            return
        row, *_ = bad.any(1).nonzero()[0].tolist()
        wrong = [name for name, is_bad in zip(self._names, bad[row].tolist(), strict=True) if is_bad]
        term = next((name for name in wrong if name != "loss"), "total")
        raise UserError(f"loss term '{term}' is not finite (NaN or infinite) at step {pending[row][0]}; {self.REMEDY}")


def _interrupted(epoch: int, trainer: L.Trainer) -> Interrupted:
    return Interrupted(f"stopped in epoch {epoch + 1} after step {trainer.global_step}")


class GracefulStop(L.Callback):
    """On Ctrl-C or SIGTERM finish the step, write ``last.ckpt`` and stop; a second Ctrl-C stops at once.

    Within ``SAME_S`` seconds of the first it counts as the same: under ``timeout`` a command gets each signal twice.

    All processes of a job stop after the same step. They exchange the flag after every step on a CPU; on other
    devices, where that would synchronise host and device, every ``every_n_steps`` steps.

    Args:
        checkpoint: the file to write.
        every_n_steps: interval in steps, on devices other than a CPU.

    Raises:
        Interrupted: from the hook after which the training stops.
    """

    SAME_S = 1.0

    def __init__(self, checkpoint: Path, every_n_steps: int = 20) -> None:
        self.checkpoint, self.every_n_steps = checkpoint, every_n_steps
        self.requested = False
        self._first_signal: float | None = None
        self._handlers: dict[int, Any] = {}  # to restore

    def _request(self, signum: int, _frame: FrameType | None) -> None:
        now, first = time.monotonic(), self._first_signal
        if first is not None:
            if signum == signal.SIGINT and now - first > self.SAME_S:
                raise KeyboardInterrupt
            return
        self.requested, self._first_signal = True, now
        if distributed.is_rank_zero():
            print("\nStopping after this step (Ctrl-C again to stop at once)", file=sys.stderr, flush=True)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if threading.current_thread() is not threading.main_thread():  # only there can handlers be set
            return
        for signum in (signal.SIGINT, signal.SIGTERM):
            self._handlers[signum] = signal.signal(signum, self._request)

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        device = trainer.strategy.root_device
        if distributed.is_distributed():
            if device.type != "cpu" and trainer.global_step % self.every_n_steps and not trainer.is_last_batch:
                return
            self.requested = distributed.all_reduce_any(self.requested, device)
        if trainer.fit_loop._should_accumulate():  # gradients are in no checkpoint
            return
        if self.requested and not trainer.is_last_batch:  # after the last batch, the epoch's validation runs first
            trainer.save_checkpoint(self.checkpoint)
            raise _interrupted(trainer.current_epoch, trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._any_requested(trainer):
            trainer.save_checkpoint(self.checkpoint)  # ModelCheckpoint, which runs later, overwrites it

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._stop_between_epochs(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._stop_between_epochs(trainer)

    def _stop_between_epochs(self, trainer: L.Trainer) -> None:
        if self._any_requested(trainer):
            raise _interrupted(trainer.current_epoch - 1, trainer)

    def _any_requested(self, trainer: L.Trainer) -> bool:
        self.requested = distributed.all_reduce_any(self.requested, trainer.strategy.root_device)
        return self.requested

    def _restore_handlers(self) -> None:
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)
        self._handlers = {}

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._restore_handlers()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._restore_handlers()


class LastEpoch(L.Callback):
    """The metrics on train of the last epoch that ended, and whether it was resumed in the middle.

    They are part of the checkpoint: a process may be killed after its last one, with nothing left to be trained.

    Attributes:
        metrics: by name, "train/loss".
        partial: ``on_train_epoch_start`` is not called for an epoch that is resumed.
    """

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        self.partial = False
        self._started = False

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started, self.partial = True, False

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.partial = not self._started

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.metrics = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("train/")}

    def state_dict(self) -> dict[str, Any]:
        return {"metrics": self.metrics, "partial": self.partial}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.metrics, self.partial = state_dict["metrics"], state_dict["partial"]
