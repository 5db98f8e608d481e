"""The progress bar, and the line per epoch where the output is no terminal."""

import logging
import time
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import TQDMProgressBar

from distill.tasks.image_classification import ImageClassification

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
        """Start the timer here: no epoch starts in a run resumed in mid-epoch."""
        self._start = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        seconds = time.perf_counter() - self._start
        metrics = trainer.callback_metrics
        names = ("train/loss", "val/loss", f"val/{ImageClassification.score.metric}", "val/agreement")
        shown = [f"{name} {float(metrics[name]):.4f}" for name in names if name in metrics]
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        log.info(f"{self.label}  {epoch}  {'  '.join(shown)}  {seconds:.1f} s")
        self._start = time.perf_counter()
