"""What a training says of itself while it runs."""

import signal
import time
from contextlib import nullcontext
from types import SimpleNamespace
from typing import ClassVar

import lightning.pytorch as L
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from distill.tasks.classification import Classification
from distill.tasks.metrics import Means
from distill.training import callbacks
from distill.training.callbacks import DataWait, FiniteLoss, GracefulStop
from distill.training.progress import EpochLine, TrainingBar
from distill.utils.errors import Interrupted, UserError


class Clock:
    """Time passes where somebody says so: a busy machine changes nothing."""

    now = 0.0

    def perf_counter(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


class Slow(Dataset):
    def __init__(self, clock, seconds):
        self.clock, self.seconds = clock, seconds

    def __len__(self):
        return 6

    def __getitem__(self, i):
        self.clock.sleep(self.seconds)
        return torch.ones(2)


class Line(L.LightningModule):
    def __init__(self, clock, seconds):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.clock, self.seconds = clock, seconds

    def training_step(self, batch, batch_idx):
        self.clock.sleep(self.seconds)
        return self.layer(batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize(("data", "step", "said"), [(0.05, 0.0, 1), (0.0, 0.05, 0), (0.05, 0.4, 0)])
def test_waiting_for_data_is_said_once(capsys, monkeypatch, data, step, said):
    clock = Clock()
    monkeypatch.setattr(callbacks, "time", clock)
    L.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[DataWait("student x", seconds=0.1)], log_every_n_steps=1,
    ).fit(Line(clock, step), DataLoader(Slow(clock, data)))  # fmt: skip
    out = capsys.readouterr().out
    assert out.count("went by waiting for data") == said
    assert "student x: " in out if said else True


def test_a_run_resumed_in_mid_epoch_has_not_waited_since_the_machine_started(capsys):
    """Lightning starts the training then, and no epoch."""
    wait = DataWait("student x", seconds=0.5)
    trainer = SimpleNamespace(is_last_batch=True, train_dataloader=SimpleNamespace(num_workers=0))
    wait.on_train_start(trainer, None)
    wait.on_train_batch_start(trainer)
    time.sleep(0.01)
    wait.on_train_batch_end(trainer)
    assert capsys.readouterr().out == ""


def step(callback, number, **parts):
    means = Means()
    values = {name: torch.tensor(value) for name, value in parts.items()}
    means.update({"loss": sum(values.values()), **values}, samples=4)
    module = SimpleNamespace(means={"train": means})
    callback.on_train_batch_end(SimpleNamespace(global_step=number), module, None, None, 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_first_bad_term_and_its_step_are_named(value):
    callback = FiniteLoss()
    step(callback, 1, hard=1.0, kd=2.0)
    with pytest.raises(UserError, match="loss term 'kd' is not finite .* at step 2"):
        step(callback, 2, hard=1.0, kd=value)


def test_a_device_that_is_not_waited_for_still_tells_the_first_step(monkeypatch):
    callback = FiniteLoss(every_n_steps=5)
    original = callback._check
    monkeypatch.setattr(callback, "_check", lambda: None)  # as on a GPU between two looks
    step(callback, 1, hard=1.0, kd=float("nan"))
    step(callback, 2, hard=float("nan"), kd=float("nan"))
    monkeypatch.setattr(callback, "_check", original)
    with pytest.raises(UserError, match="'kd' is not finite .* at step 1"):
        callback.on_train_epoch_end(None, None)


def test_a_loss_that_is_nan_on_validation_alone_stops_the_run():
    callback = FiniteLoss()
    for loss in (1.0, float("inf")):
        callback.on_validation_end(SimpleNamespace(callback_metrics={"val/loss": torch.tensor(loss)}), None)
    trainer = SimpleNamespace(callback_metrics={"val/loss": torch.tensor(float("nan"))}, current_epoch=2)
    with pytest.raises(UserError, match="the loss on validation is NaN after epoch 3, and that on train is not"):
        callback.on_validation_end(trainer, None)


def test_finite_losses_pass():
    callback = FiniteLoss()
    step(callback, 1, hard=1.0)
    callback.on_train_epoch_end(None, None)


@pytest.mark.parametrize(
    ("losses", "said"),
    [((2.3, 30.0, 20.0), True), ((0.1, 1.4, 1.5), False), ((0.1, 4.0, 3.0), True), ((2.3, 2.0, 1.0), False)],
)
def test_a_loss_that_explodes_is_told_from_one_that_began_with_an_easy_batch(caplog, losses, said):
    callback = FiniteLoss()
    for number, loss in enumerate(losses, start=1):
        step(callback, number, hard=loss)
    callback.on_train_epoch_end(SimpleNamespace(current_epoch=0), None)
    assert ("the training diverges" in caplog.text) is said


class Validated(Line):
    """Logs an accuracy that names its epoch."""

    task = Classification(4)
    means: ClassVar = {"train": SimpleNamespace(last=torch.zeros(1))}

    def validation_step(self, batch, batch_idx):
        self.log("val/acc", self.current_epoch / 10)


def test_an_epoch_line_shows_validation_only_where_there_was_one(capsys):
    loader = DataLoader(Slow(Clock(), 0.0))
    L.Trainer(
        max_epochs=4, check_val_every_n_epoch=2, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, callbacks=[EpochLine("x")],
    ).fit(Validated(Clock(), 0.0), loader, loader)  # fmt: skip
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "training x"
    assert [line.rpartition("  ")[0] for line in lines] == [
        "epoch 1/4", "epoch 2/4  acc 10.00 %", "epoch 3/4", "epoch 4/4  acc 30.00 %"
    ]  # fmt: skip


def test_a_second_ctrl_c_stops_at_once_unless_it_is_the_first_once_more(tmp_path, monkeypatch, capsys):
    clock = Clock()
    monkeypatch.setattr("distill.training.callbacks.time.monotonic", lambda: clock.now)
    stop = GracefulStop(tmp_path / "last.ckpt")
    for seconds in (0.0, 0.01, 0.9):
        clock.sleep(seconds)
        stop._request(signal.SIGINT, None)
    assert stop.requested
    assert capsys.readouterr().err.count("Stopping after this step") == 1
    clock.sleep(0.2)
    stop._request(signal.SIGTERM, None)
    with pytest.raises(KeyboardInterrupt):
        stop._request(signal.SIGINT, None)


@pytest.mark.parametrize("fails", [True, False])
def test_the_bars_last_line_stays_where_a_training_is_stopped(capsys, fails):
    class Stop(L.Callback):
        def on_train_batch_end(self, trainer, *args):
            if fails:
                raise Interrupted("stopped")

    loader = DataLoader(Slow(Clock(), 0.0))
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False,
        num_sanity_val_steps=0, callbacks=[TrainingBar("student x"), Stop()],
    )  # fmt: skip
    with pytest.raises(Interrupted) if fails else nullcontext():
        trainer.fit(Validated(Clock(), 0.0), loader, loader)
    last = capsys.readouterr().err.rpartition("\r")[2]
    assert ("student x epoch 1/1" in last and last.endswith("\n")) == fails


def test_a_training_stops_where_no_gradients_are_pending(tmp_path):
    """Accumulated ones are in no checkpoint: the continued run would lose them."""
    stop = GracefulStop(tmp_path / "last.ckpt")

    class Ask(L.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            stop.requested = True

    trainer = L.Trainer(
        max_epochs=1, accumulate_grad_batches=4, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[Ask(), stop],
    )  # fmt: skip
    with pytest.raises(Interrupted):
        trainer.fit(Line(Clock(), 0.0), DataLoader(Slow(Clock(), 0.0)))
    saved = torch.load(tmp_path / "last.ckpt", weights_only=False)
    assert (trainer.fit_loop.epoch_loop.batch_progress.current.processed, saved["global_step"]) == (4, 1)
