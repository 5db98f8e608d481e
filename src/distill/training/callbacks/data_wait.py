"""Report a training that is limited by data loading."""

import logging
import time
from typing import Any

import lightning.pytorch as L

from distill.utils.cpu import usable_cores

log = logging.getLogger(__name__)


class DataWait(L.Callback):
    """Print one line, once per training, when its steps wait for data.

    Args:
        label: what is trained.
        share: least share of an epoch's time, without validation, that is reported.
        seconds: least seconds of an epoch that are reported.
    """

    def __init__(self, label: str, share: float = 0.2, seconds: float = 1.0) -> None:
        self.label = label
        self.share = share
        self.seconds = seconds
        self._reported = False
        self._wait_s = self._step_s = self._mark = self._prefetch_s = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the timers here too: no epoch starts in a run resumed in mid-epoch."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._wait_s = self._step_s = 0.0
        self._mark = time.perf_counter()

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        """Count the time since the last step as waiting, except for a teacher's forward launched by the loader."""
        now, prefetch_s = time.perf_counter(), getattr(trainer.train_dataloader, "prefetch_s", 0.0)
        launched, self._prefetch_s = max(0.0, prefetch_s - self._prefetch_s), prefetch_s
        self._wait_s += now - self._mark - launched
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
