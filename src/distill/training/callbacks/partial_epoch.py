"""Whether a training was resumed in the middle of its last epoch."""

from typing import Any

import lightning.pytorch as L


class PartialEpoch(L.Callback):
    """Notes whether a training was resumed within the epoch that it is in: such an epoch has no start."""

    def __init__(self) -> None:
        self.partial = False
        self._started = False

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started, self.partial = True, False

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.partial = not self._started
