"""Lightning callbacks that connect a training to its sweep: a heartbeat for observers, pruning of Optuna trials."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as L

from distill.sweeps.optuna.trial import pruning_callback
from distill.sweeps.record import write_status
from distill.utils import distributed
from distill.utils.errors import Pruned


def trainer_callbacks(run: Path, label: str) -> list[L.Callback]:
    """The callbacks of one training of a run.

    All processes of a job must call this together.

    Args:
        run: the run's folder.
        label: what is trained ("student resnet8"); only the student itself reports to an Optuna study.
    """
    callbacks: list[L.Callback] = [Heartbeat(run, label)]
    report = pruning_callback(run) if label.startswith("student ") and distributed.is_rank_zero() else None
    if distributed.broadcast_object(report is not None):
        callbacks.append(PruneTrial(report))
    return callbacks


class PruneTrial(L.Callback):
    """Report the validation score of each epoch to an Optuna study, and stop when the study prunes the trial.

    Args:
        report: takes the epoch, counted from 1, and the score; returns whether to go on. None in processes other
            than the first.

    Raises:
        Pruned: the study prunes the trial.
    """

    def __init__(self, report: Callable[[int, float], bool] | None) -> None:
        self.report = report

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        epoch, metric = trainer.current_epoch + 1, pl_module.task.score
        score = float(trainer.callback_metrics[f"val/{metric.name}"])
        proceed = distributed.broadcast_object(self.report is None or self.report(epoch, score))
        if not proceed and epoch < (trainer.max_epochs or 0):  # after the last epoch the result counts
            raise Pruned(epoch, score, metric.display(score))


class Heartbeat(L.Callback):
    """Write the progress of the training to the run's ``status.json``, which observers of a sweep read.

    Args:
        folder: the run's folder.
        label: what is trained ("teacher resnet20").
        every_s: least seconds between two writes within an epoch.
    """

    def __init__(self, folder: Path, label: str, every_s: float = 5.0) -> None:
        self.folder = folder
        self.label = label
        self.every_s = every_s
        self._last = self._started = 0.0
        self._first_step = 0

    @staticmethod
    def _steps(trainer: L.Trainer) -> int:
        return trainer.fit_loop.total_batch_idx + 1

    def _left(self, trainer: L.Trainer) -> float | None:
        """Seconds until the last epoch ends, at the pace since the start; None before the first step."""
        done, per_epoch = self._steps(trainer) - self._first_step, trainer.num_training_batches
        if done <= 0 or not trainer.max_epochs or not math.isfinite(per_epoch):
            return None
        left = trainer.max_epochs * int(per_epoch) - self._steps(trainer)
        return max(0.0, (time.monotonic() - self._started) / done * left)

    def _write(self, trainer: L.Trainer) -> None:
        if not distributed.is_rank_zero():
            return
        module: Any = trainer.lightning_module
        score = trainer.callback_metrics.get(f"val/{module.task.score.name}")
        write_status(
            self.folder,
            training=self.label,
            epoch=trainer.current_epoch + 1,
            max_epochs=trainer.max_epochs,
            val_score=None if score is None else float(score),
            left_s=self._left(trainer),
        )
        self._last = time.monotonic()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started, self._first_step = time.monotonic(), self._steps(trainer)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._write(trainer)

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if time.monotonic() - self._last > self.every_s:
            self._write(trainer)
