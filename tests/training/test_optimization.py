"""Fused optimizers: where they are used, and that they do what the others do."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from distill.training.optimization import optimizers
from jobs import TINY, run_job
from weights import weights


def built(optimizer, scaler=None):
    module = nn.Linear(3, 2)
    module.trainer = SimpleNamespace(precision_plugin=SimpleNamespace(scaler=scaler))
    return optimizers(optimizer, None, module, lambda: 10)


@pytest.mark.parametrize(
    ("optimizer", "fused"),
    [
        (partial(torch.optim.AdamW, lr=0.1), True),
        (partial(torch.optim.Adam, lr=0.1), True),
        (partial(torch.optim.AdamW, lr=0.1, foreach=True), None),
        (partial(torch.optim.AdamW, lr=0.1, fused=False), False),
        (partial(torch.optim.SGD, lr=0.1), None),
        (partial(torch.optim.RMSprop, lr=0.1), None),
    ],
)
def test_on_a_cpu_adam_is_fused_unless_another_implementation_is_asked_for(optimizer, fused):
    assert built(optimizer).defaults.get("fused") is fused


def test_with_loss_scaling_nothing_is_fused():
    assert built(partial(torch.optim.AdamW, lr=0.1), scaler=object()).defaults["fused"] is None


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_fused_step_is_that_of_the_other_implementation(tmp_path, precision):
    job = (*TINY, "kd=none", "optimizer=adamw", "optimizer.lr=0.003", "scheduler=none", "data.batch_size=100",
           f"trainer.precision={precision}", "trainer.max_epochs=1")  # fmt: skip
    runs = {}
    for name, own in (("none", ("optimizer.lr=1e-12",)), ("fused", ()), ("other", ("+optimizer.fused=false",))):
        run_job(tmp_path / name, *job, *own)
        state = weights(tmp_path / name)
        runs[name] = torch.cat([value.flatten().double() for key, value in state.items() if key.endswith("weight")])
    moved = (runs["other"] - runs["none"]).norm()
    assert moved > 0.1
    assert (runs["fused"] - runs["other"]).norm() < 0.05 * moved


def test_gradients_are_clipped_before_a_fused_step_in_bf16(monkeypatch, tmp_path):
    norms = []
    step = torch.optim.AdamW.step

    def watched(self, closure=None):
        if closure is None:  # a step that is timed before the training
            return step(self)
        loss = closure()  # Lightning's: forward, backward, clipping
        assert self.defaults["fused"]
        gradients = [p.grad for group in self.param_groups for p in group["params"]]
        norms.append(float(torch.stack([gradient.norm() for gradient in gradients]).norm()))
        return step(self, lambda: loss)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    run_job(
        tmp_path, *TINY, "kd=none", "optimizer=adamw", "trainer.gradient_clip_val=0.01", "trainer.max_epochs=1",
        "trainer.precision=bf16-mixed",
    )  # fmt: skip
    assert norms == pytest.approx([0.01] * 4, rel=1e-3)
