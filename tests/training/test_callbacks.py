"""What a training says of itself while it runs."""

import time
from types import SimpleNamespace

import lightning.pytorch as L
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from distill.tasks.metrics import Means
from distill.training import callbacks
from distill.training.callbacks import DataWait, FiniteLoss
from distill.utils.errors import UserError


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


def test_finite_losses_pass():
    callback = FiniteLoss()
    step(callback, 1, hard=1.0)
    callback.on_train_epoch_end(None, None)
