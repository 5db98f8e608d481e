"""Callbacks that the benchmark gives to ``train.py``, as a user gives one: ``+callbacks.clock._target_=...``."""

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch

from benchmarks.player import Player


class Turns(L.Callback):
    """Trains in turns with other processes.

    Args:
        fd: see ``Player``.
        warm_up: likewise.
    """

    def __init__(self, fd: int, warm_up: int) -> None:
        self._given = fd, warm_up

    def on_train_start(self, *args: Any) -> None:  # noqa: ARG002
        """Takes hold of the connection: callbacks are also made to see whether they can be."""
        self._player = Player(*self._given, torch.cuda.synchronize if torch.cuda.is_available() else None)

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:  # noqa: ARG002
        """A step is done."""
        self._player.step()


class Stamps(L.Callback):
    """Appends to a file the time at which each training's first step ended.

    Args:
        file: one number per line, seconds since 1970.
    """

    def __init__(self, file: str) -> None:
        self.file = Path(file)

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:  # noqa: ARG002
        """A step is done."""
        if trainer.global_step == 1:
            with self.file.open("a") as file:
                file.write(f"{time.time()}\n")
