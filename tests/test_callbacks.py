from types import SimpleNamespace

import pytest
import torch

from distill.callbacks import FiniteLoss
from distill.errors import UserError


def step(callback, number, **parts):
    trainer = SimpleNamespace(global_step=number)
    values = {name: torch.tensor(value) for name, value in parts.items()}
    callback.on_train_batch_end(trainer, None, {"loss": sum(values.values()), "parts": values}, None, 0)


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
