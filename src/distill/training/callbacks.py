"""What watches a run: losses that stay finite, Ctrl-C that loses nothing, a line per epoch."""

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import TQDMProgressBar

from distill.sweeps.record import beat
from distill.utils import distributed
from distill.utils.cpu import usable_cores
from distill.utils.errors import Interrupted, Pruned, UserError


class GracefulStop(L.Callback):
    """Ctrl-C (or SIGTERM) finishes the step, writes ``last.ckpt`` and stops; a second one stops at once.

    Several processes stop after the same step: each asks the others after every step on a CPU, and on other devices,
    which would have to wait for that, after every ``every_n_steps``.

    Args:
        checkpoint: the file to write.
        every_n_steps: see above.
    """

    def __init__(self, checkpoint: Path, every_n_steps: int = 20) -> None:
        self.checkpoint = checkpoint
        self.every_n_steps = every_n_steps
        self.asked = False
        self._before: dict[int, Any] = {}

    def _ask(self, signum: int, _frame: FrameType | None) -> None:
        if self.asked and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True
        if distributed.is_rank_zero():
            print("\nStopping after this step (Ctrl-C again to stop at once)", file=sys.stderr, flush=True)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Takes over the signals."""
        for signum in (signal.SIGINT, signal.SIGTERM):
            self._before[signum] = signal.signal(signum, self._ask)

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Stops here if asked to: weights and optimizer are whole, and the loader knows what it has shown."""
        device = trainer.strategy.root_device
        if distributed.is_distributed():
            if device.type != "cpu" and trainer.global_step % self.every_n_steps and not trainer.is_last_batch:
                return
            self.asked = distributed.any_of(self.asked, device)
        if self.asked and not trainer.is_last_batch:  # after the last one, the epoch's validation comes first
            trainer.save_checkpoint(self.checkpoint)
            raise Interrupted(trainer.current_epoch, trainer.global_step)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the epoch's checkpoint; ModelCheckpoint, which comes after, writes it again with its own state."""
        self.asked = distributed.any_of(self.asked, trainer.strategy.root_device)
        if self.asked:
            trainer.save_checkpoint(self.checkpoint)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stops between two epochs."""
        self.asked = distributed.any_of(self.asked, trainer.strategy.root_device)
        if self.asked:
            raise Interrupted(trainer.current_epoch - 1, trainer.global_step)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stops after the last epoch: what is left are the tests."""
        self.asked = distributed.any_of(self.asked, trainer.strategy.root_device)
        if self.asked:
            raise Interrupted(trainer.current_epoch - 1, trainer.global_step)

    def _give_back(self) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before = {}

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Gives the signals back."""
        self._give_back()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Gives the signals back."""
        self._give_back()


class FiniteLoss(L.Callback):
    """Stops the run when a term of the loss is NaN or infinite, and names the term and the step.

    The numbers of every step are read at once on a CPU, and elsewhere every ``every_n_steps`` steps and before the
    epoch's checkpoint, so that no step waits for the device.

    Args:
        every_n_steps: on devices other than a CPU.
    """

    def __init__(self, every_n_steps: int = 50) -> None:
        self.every_n_steps = every_n_steps
        self._names: tuple[str, ...] = ()
        self._kept: list[tuple[int, torch.Tensor]] = []  # steps, and their numbers

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        """Looks at the parts of the loss."""
        means = pl_module.means["train"]
        if means.names != self._names:
            self._check()
            self._names = means.names
        self._kept.append((trainer.global_step, means.last))
        if len(self._kept) >= self.every_n_steps or means.last.device.type == "cpu":
            self._check()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Looks before the checkpoint is written."""
        self._check()

    def _check(self) -> None:
        if not self._kept:
            return
        kept, self._kept = self._kept, []
        bad = ~torch.isfinite(torch.stack([values for _, values in kept]))
        if not bad.any():
            return
        row, *_ = bad.any(1).nonzero()[0].tolist()
        wrong = [name for name, found in zip(self._names, bad[row].tolist(), strict=True) if found]
        term = next((name for name in wrong if name != "loss"), "total")
        raise UserError(
            f"loss term '{term}' is not finite (NaN or infinite) at step {kept[row][0]}; "
            "lower the learning rate or the term's weight, or set trainer.gradient_clip_val"
        )


class LabelledBar(TQDMProgressBar):
    """Lightning's progress bar, which says what is trained.

    Args:
        label: what is trained ("pretraining of ft for student resnet8").
        every_n_steps: it moves; each time it shows the loss, and a GPU has to be waited for.
    """

    def __init__(self, label: str, every_n_steps: int = 1) -> None:
        super().__init__(refresh_rate=every_n_steps)
        self.label = label

    def on_train_epoch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Names what is trained before the epoch."""
        super().on_train_epoch_start(trainer)
        self.train_progress_bar.set_description(f"{self.label}, epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")


class EpochLine(L.Callback):
    """One printed line per epoch with the numbers people watch; for logs, where no progress bar moves.

    Args:
        label: what is trained ("teacher resnet20").
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self._start = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clock (a run resumed in mid-epoch starts no epoch)."""
        self._start = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Prints the line."""
        seconds = time.perf_counter() - self._start
        seen = trainer.callback_metrics
        shown = [
            f"{k} {float(seen[k]):.4f}" for k in ("train/loss", "val/loss", "val/acc", "val/agreement") if k in seen
        ]
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        print(f"{self.label}  {epoch}  {'  '.join(shown)}  {seconds:.1f} s", flush=True)
        self._start = time.perf_counter()


class DataWait(L.Callback):
    """Says, once per training, that steps wait for data.

    Args:
        label: what is trained.
        share: of an epoch's time (validation not counted) from which it is worth a line.
        seconds: likewise.
    """

    def __init__(self, label: str, share: float = 0.2, seconds: float = 1.0) -> None:
        self.label = label
        self.share = share
        self.seconds = seconds
        self._said = False
        self._waited = self._worked = self._mark = self._ahead = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clocks (a run resumed in mid-epoch starts no epoch)."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clocks."""
        self._waited = self._worked = 0.0
        self._mark = time.perf_counter()

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        """A batch is there; what the teacher began meanwhile is work."""
        now, prefetch = time.perf_counter(), getattr(trainer.train_dataloader, "ahead_s", 0.0)
        begun, self._ahead = max(0.0, prefetch - self._ahead), prefetch
        self._waited += now - self._mark - begun
        self._worked += begun
        self._mark = now

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """A step is done."""
        now = time.perf_counter()
        self._worked += now - self._mark
        self._mark = now
        share = self._waited / (self._waited + self._worked)
        if trainer.is_last_batch and share > self.share and self._waited > self.seconds and not self._said:
            self._said = True
            loader: Any = trainer.train_dataloader
            print(
                f"{self.label}: {100 * share:.0f} % of the epoch's {self._waited + self._worked:.1f} s went by waiting "
                f"for data (data.num_workers is {loader.num_workers}, {usable_cores()} cores can be used)",
                flush=True,
            )


class PruneTrial(L.Callback):
    """Tells a search each epoch's validation accuracy, and ends the training where it sees no hope.

    Args:
        hope: takes an epoch, counted from 1, and the accuracy, and says whether to go on; None in processes that only
            follow the first one.
    """

    def __init__(self, pruning_callback: Callable[[int, float], bool] | None) -> None:
        self.pruning_callback = pruning_callback

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Once per validation of a training."""
        epoch, accuracy = trainer.current_epoch + 1, float(trainer.callback_metrics["val/acc"])
        go_on = self.pruning_callback is None or self.pruning_callback(epoch, accuracy)
        if not distributed.broadcast_object(go_on) and epoch < (
            trainer.max_epochs or 0
        ):  # the last epoch is the result
            raise Pruned(epoch, accuracy)


class Heartbeat(L.Callback):
    """Says in the run's ``status.json`` that it goes on, and where it is: for whoever watches a sweep.

    Args:
        folder: the run's.
        label: what is trained ("teacher resnet20").
        every_s: seconds between two words within an epoch.
    """

    def __init__(self, folder: Path, label: str, every_s: float = 5.0) -> None:
        self.folder = folder
        self.label = label
        self.every_s = every_s
        self._last = 0.0

    def _beat(self, trainer: L.Trainer) -> None:
        if not distributed.is_rank_zero():
            return
        accuracy = trainer.callback_metrics.get("val/acc")
        beat(
            self.folder,
            training=self.label,
            epoch=trainer.current_epoch + 1,
            max_epochs=trainer.max_epochs,
            val_acc=None if accuracy is None else float(accuracy),
        )
        self._last = time.monotonic()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """An epoch begins, with the accuracy of the one before."""
        self._beat(trainer)

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """From time to time."""
        if time.monotonic() - self._last > self.every_s:
            self._beat(trainer)
