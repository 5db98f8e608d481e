"""Callbacks that guard a training and report its progress."""

import logging
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import TQDMProgressBar

from distill.tasks.image_classification import ImageClassification
from distill.utils import distributed
from distill.utils.cpu import usable_cores
from distill.utils.errors import Interrupted, UserError

log = logging.getLogger(__name__)


class LabelledBar(TQDMProgressBar):
    """Lightning's progress bar with a label.

    Args:
        label: what is trained ("pretraining of ft for student resnet8").
        every_n_steps: refresh interval in steps. A refresh shows the loss, which synchronises host and GPU.
    """

    def __init__(self, label: str, every_n_steps: int = 1) -> None:
        super().__init__(refresh_rate=every_n_steps)
        self.label = label

    def on_train_epoch_start(self, trainer: L.Trainer, *_: Any) -> None:
        super().on_train_epoch_start(trainer)
        self.train_progress_bar.set_description(f"{self.label}, epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")


class EpochLine(L.Callback):
    """Print one line per epoch: losses, accuracy, agreement with the teacher, seconds.

    Args:
        label: what is trained ("teacher resnet20").
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self._start = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._start = time.perf_counter()  # a run resumed in mid-epoch starts no epoch

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        seconds = time.perf_counter() - self._start
        metrics = trainer.callback_metrics
        names = ("train/loss", "val/loss", f"val/{ImageClassification.score.metric}", "val/agreement")
        shown = [f"{name} {float(metrics[name]):.4f}" for name in names if name in metrics]
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        log.info(f"{self.label}  {epoch}  {'  '.join(shown)}  {seconds:.1f} s")
        self._start = time.perf_counter()


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
    """Stop the run when a term of the loss is NaN or infinite, and name the term and the step.

    On a CPU the values are read after every step; on other devices every ``every_n_steps`` steps and before the epoch's
    checkpoint, so that other steps do not synchronise host and device.

    Args:
        every_n_steps: interval in steps, on devices other than a CPU.

    Raises:
        UserError: a value is not finite.
    """

    def __init__(self, every_n_steps: int = 50) -> None:
        self.every_n_steps = every_n_steps
        self._names: tuple[str, ...] = ()
        self._pending: list[tuple[int, torch.Tensor]] = []  # step, values of the terms

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
        self.checkpoint, self.every_n_steps = checkpoint, every_n_steps
        self.requested = False
        self._handlers: dict[int, Any] = {}  # to restore

    def _request(self, signum: int, _frame: FrameType | None) -> None:
        if self.requested and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
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
        if self.requested and not trainer.is_last_batch:  # after the last batch, the epoch's validation runs first
            trainer.save_checkpoint(self.checkpoint)
            raise Interrupted(trainer.current_epoch, trainer.global_step)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._any_requested(trainer):
            trainer.save_checkpoint(self.checkpoint)  # ModelCheckpoint, which runs later, overwrites it

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.on_train_end(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._any_requested(trainer):
            raise Interrupted(trainer.current_epoch - 1, trainer.global_step)

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


class PartialEpoch(L.Callback):
    """Record whether the current epoch was resumed in the middle: ``on_train_epoch_start`` is not called for it."""

    def __init__(self) -> None:
        self.partial = False
        self._started = False

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started, self.partial = True, False

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.partial = not self._started
