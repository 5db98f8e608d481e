"""Quantisation-aware distillation: rounding as onnxruntime rounds, weights and names untouched, better int8."""

import copy
import json

import numpy as np
import pytest
import torch
from torch import nn

from distill.evaluation.runs import Run
from distill.models import resnet8
from distill.training.callbacks import GracefulStop
from distill.training.quantization import Int8, Range, fake_weight
from distill.utils.errors import Interrupted, UserError
from jobs import TINY, composed, run_job
from summaries import kept


def test_weights_lie_on_the_grid_of_their_channel():
    weight = torch.randn(4, 3, 3, 3, generator=torch.manual_seed(0)) * torch.tensor([1, 5, 0.1, 0]).view(4, 1, 1, 1)
    found = fake_weight(weight).numpy()
    for row, own in zip(weight.numpy(), found, strict=True):
        scale = max(np.abs(row).max() / 127, 1e-12)
        np.testing.assert_allclose(own, np.rint(row / scale) * scale, atol=1e-6)


def test_folding_batchnorm_keeps_the_grid():
    weight = torch.randn(4, 9, generator=torch.manual_seed(0))
    factor = torch.tensor([0.3, -2.0, 1.0, 40.0])[:, None]
    torch.testing.assert_close(fake_weight(weight) * factor, fake_weight(weight * factor))


def test_ranges_follow_training_batches_only():
    own = Range()
    x = torch.linspace(-1, 3, 50)
    assert own(x, learn=False) is x
    first = own(x, learn=True)
    assert (own.low.item(), own.high.item()) == (-1, 3)
    assert (first - x).abs().max() <= 4 / 255 / 2 + 1e-6
    own(2 * x, learn=True)
    assert own.high.item() == pytest.approx(3.3)
    assert own(10 * x, learn=False).max() == pytest.approx(3.3, abs=0.02)
    assert own.high.item() == pytest.approx(3.3)


def test_the_model_stays_as_it_is():
    model = resnet8(10, in_channels=1)
    keys, weights = list(model.state_dict()), [id(p) for p in model.parameters()]
    before = copy.deepcopy(model).eval()
    int8 = Int8(model)
    x = torch.randn(4, 1, 8, 8, generator=torch.manual_seed(0))
    model.train()(x).sum().backward()
    assert list(model.state_dict()) == keys
    assert [id(p) for p in model.parameters()] == weights
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters() if p.dim() > 1)
    before.load_state_dict(model.state_dict())
    with torch.no_grad():
        rounded, own = model.eval()(x), before(x)
        assert not torch.equal(rounded, own)
        int8.on = False
        assert torch.equal(model(x), own)


def test_a_failing_layer_leaves_its_weight():
    layer = nn.Linear(3, 2)
    weight = layer.weight
    Int8(layer)
    with pytest.raises(RuntimeError):
        layer(torch.zeros(1, 4))
    assert layer.weight is weight
    with pytest.raises(ValueError, match="no convolution"):
        Int8(nn.ReLU())


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("qat") / "plain"
    run_job(folder, *TINY, "teacher=resnet14")
    return folder


@pytest.mark.slow
def test_a_finished_student_learns_int8_from_its_teacher(plain):
    folder = plain.parent / "int8"
    report = run_job(folder, *TINY, "teacher=resnet14", f"init={plain}", "quantize=int8", "optimizer.lr=0.01")
    last = kept(report["student"])
    before = kept(json.loads((plain / "summary.json").read_text())["student"])["test"]["acc"]
    assert {"val", "test"} <= set(last["int8"])
    assert last["int8"]["test"]["acc"] > before - 0.05
    run = Run(folder)  # the float weights, opened without any rounding, give the float numbers
    with torch.no_grad():
        hits = sum((run.student.model(b.inputs).argmax(1) == b.target).sum().item() for b in run.data.test_dataloader())
    assert hits / report["data"]["test"] == pytest.approx(last["test"]["acc"])
    saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert any(key.startswith("int8.ranges.") for key in saved)


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 3, 5])
def test_a_stopped_student_of_int8_goes_on_bit_for_bit(plain, monkeypatch, step):
    """Weights and the ranges of activations; within an epoch and at its end."""
    settings = (*TINY, "teacher=resnet14", "quantize=int8", "optimizer.lr=0.01", "data.batch_size=50")
    whole, folder = (plain.parent / f"{name}-{step}" for name in ("whole", "stopped"))
    run_job(whole, *settings, f"init={plain}")
    end = GracefulStop.on_train_batch_end

    def stopping(self, trainer, *args):
        self.requested = trainer.global_step == step
        end(self, trainer, *args)

    with monkeypatch.context() as patch, pytest.raises(Interrupted, match=f"after step {step}"):
        patch.setattr(GracefulStop, "on_train_batch_end", stopping)
        run_job(folder, *settings, f"init={plain}")
    report = run_job(folder, *settings, f"init={plain}", f"resume={folder}")
    assert report["resumed"]
    states = [torch.load(at / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for at in (whole, folder)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    ranges = [value for name, value in states[0].items() if name.startswith("int8.ranges.") and name.endswith("high")]
    assert all(value > 0 for value in ranges)
    then, now = (kept(json.loads((at / "summary.json").read_text())["student"])["int8"] for at in (whole, folder))
    assert then == now


def test_mistakes(plain, tmp_path):
    with pytest.raises(UserError, match="init: .*gone.* does not exist"):
        run_job(tmp_path / "a", *TINY, "init=gone")
    with pytest.raises(UserError, match="does not fit"):
        run_job(tmp_path / "b", *TINY, f"init={plain}", "model=resnet14", "kd=none")
    with pytest.raises(UserError, match="kd.peers and quantize cannot be combined"):
        run_job(tmp_path / "c", *TINY, "kd=dml", "quantize=int8")
    with pytest.raises(Exception, match="int4"):
        composed("quantize=int4")
