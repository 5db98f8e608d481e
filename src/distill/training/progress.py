"""What a training shows while it runs: a bar on a terminal or in a notebook, and a line per epoch that stays."""

import logging
import sys
import textwrap
import time
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

from distill.tasks.info import AGREEMENT

log = logging.getLogger(__name__)

REDRAW_S = 0.1  # least seconds between two pictures of a bar


def bar_is_shown() -> bool:
    """Whether stderr is a terminal or belongs to a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


class TrainingBar(TQDMProgressBar):
    """One line, gone when the training ends: epoch, share of it, loss, last score, time left of the training.

    Of a training that is stopped or fails it stays.

    Args:
        label: what is trained ("pretraining of ft for student resnet8"); cut to fit 80 columns.
        every_n_steps: interval in steps. The loss that is shown synchronises host and GPU.
    """

    def __init__(self, label: str, every_n_steps: int = 1) -> None:
        super().__init__(refresh_rate=every_n_steps)
        self.label = textwrap.shorten(label, 20, placeholder="…").replace("{", "{{").replace("}", "}}")
        self._started = self._drawn = 0.0
        self._first_step = 0

    def init_train_tqdm(self) -> Tqdm:
        """The bar, on stderr: stdout may be a file."""
        return Tqdm(disable=self.is_disabled, leave=False, dynamic_ncols=True, file=sys.stderr, bar_format=self.label)

    def init_validation_tqdm(self) -> Tqdm:
        """No second line: the bar says that it validates."""
        return Tqdm(disable=True)

    def on_train_start(self, trainer: L.Trainer, *args: Any) -> None:
        super().on_train_start(trainer, *args)
        self._started, self._first_step = time.perf_counter(), self._steps(trainer)

    def on_train_epoch_start(self, trainer: L.Trainer, *args: Any) -> None:
        super().on_train_epoch_start(trainer, *args)
        self._draw(trainer, "")

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        bar = self.train_progress_bar
        bar.n = batch_idx + 1
        due = time.perf_counter() - self._drawn > REDRAW_S or trainer.is_last_batch
        if due and self._should_update(bar.n, bar.total):
            self._draw(trainer, f"loss {float(pl_module.means['train'].last[0]):#.3g}")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        pass

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_validation_start(trainer, pl_module)
        self._draw(trainer, "validating")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.reset_dataloader_idx_tracker()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        if self._train_progress_bar is not None:
            self.train_progress_bar.leave = True
            self.train_progress_bar.close()

    def _steps(self, trainer: L.Trainer) -> int:
        return trainer.fit_loop.total_batch_idx + 1

    def _draw(self, trainer: L.Trainer, state: str) -> None:
        module: Any = trainer.lightning_module
        bar, metric = self.train_progress_bar, module.task.score
        score = trainer.callback_metrics.get(f"val/{metric.name}")
        now, done = time.perf_counter(), self._steps(trainer) - self._first_step
        steps_left = (trainer.max_epochs or 1) * int(self.total_train_batches) - self._steps(trainer)
        parts = [state, "" if score is None else f"{metric.name} {metric.display(float(score))}"]
        if done > 0:
            parts.append(f"{Tqdm.format_interval((now - self._started) / done * steps_left)} left")
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        bar.bar_format = f"{self.label} {epoch} {{percentage:3.0f}}%|{{bar}}| {'  '.join(filter(None, parts))}"
        bar.refresh()
        self._drawn = now


class EpochLine(L.Callback):
    """Print what is trained, and one line per epoch: losses, score, agreement with the teacher, seconds.

    Args:
        label: what is trained ("teacher resnet20").
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self._start = 0.0
        self._validated = -1  # the last epoch that was: Lightning keeps its metrics

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._start = time.perf_counter()  # a run resumed in mid-epoch starts no epoch
        begun = f" from epoch {trainer.current_epoch + 1}" if trainer.current_epoch else ""
        log.info(f"training {self.label}{begun}")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._validated = trainer.current_epoch

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        seconds = time.perf_counter() - self._start
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if self._validated != trainer.current_epoch:
            metrics = {name: value for name, value in metrics.items() if not name.startswith("val/")}
        losses = {"loss": "train/loss", "val loss": "val/loss"}
        parts = [f"{word} {metrics[name]:#.3g}" for word, name in losses.items() if name in metrics]
        shown = dict.fromkeys((pl_module.task.score, AGREEMENT))
        parts += [f"{m.name} {m.display(metrics[f'val/{m.name}'])}" for m in shown if f"val/{m.name}" in metrics]
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        log.info(
            "  ".join(
                [
                    f"{epoch:<{7 + 2 * len(str(trainer.max_epochs))}}",
                    *parts,
                    f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s",
                ]
            )
        )
        self._start = time.perf_counter()
