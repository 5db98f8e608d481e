import threading
import time

import pytest
import safetensors.torch
import torch
from torch import nn

from distill.models import resnet8
from distill.utils.checkpoints import save_weights
from distill.utils.profiling import safetensors_bytes, size, speed


class Slow(nn.Module):
    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        time.sleep(self.seconds * len(x))
        return self.layer(x)


def test_size(tmp_path):
    model = resnet8(100).train()
    found = size(model, torch.randn(1, 3, 32, 32))
    assert found.parameters == 83_892
    assert found.macs == pytest.approx(12.5e6, rel=0.01)
    save_weights(model, tmp_path / "x.safetensors")
    assert 0 <= (tmp_path / "x.safetensors").stat().st_size - found.bytes < 50  # the file has a checksum, too
    assert model.training


@pytest.mark.parametrize("name", ["layer", "schicht-ä", 'a "quoted" one'])
def test_bytes_are_those_of_a_safetensors_file(name):
    dtypes = list(safetensors.torch._TYPES.values())
    weights = {f"{name}.{i}": torch.zeros(i % 3, 7, 11).to(dtype) for i, dtype in enumerate([*dtypes, *dtypes])}
    for count in range(len(weights) + 1):  # every padding of the header
        some = dict(list(weights.items())[:count])
        assert safetensors_bytes(some) == len(safetensors.torch.save(some))


def test_a_model_is_counted_once_and_again_once_it_is_another():
    model, example = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).train(), torch.randn(1, 4)
    model[1].eval()
    calls = []
    model.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    assert [size(model, example).macs for _ in range(3)] == [16, 16, 16]
    assert calls == [False]
    assert (model.training, model[0].training, model[1].training) == (True, True, False)
    model.append(nn.Linear(4, 2))
    assert size(model, example).macs == 24
    assert size(model, example[:, None].squeeze(1)).macs == 24
    assert len(calls) == 2


def test_speed_is_per_sample_and_per_batch():
    found = speed(
        {"a": Slow(0.002), "b": Slow(0.004)},
        dict.fromkeys("ab", torch.randn(5, 3)),
        torch.device("cpu"),
        None,
        seconds=0.05,
    )
    assert found["a"].latency_ms >= 2
    assert found["b"].latency_ms >= 4
    assert found["b"].latency_ms / found["a"].latency_ms > 1.3
    assert found["a"].throughput <= 500
    assert found["b"].throughput <= 250
    assert found["a"].batch == 5


def test_speed_under_autocast():
    seen = []
    model = nn.Linear(3, 2)
    model.register_forward_hook(lambda _m, _i, out: seen.append(out.dtype))
    speed({"a": model}, {"a": torch.randn(2, 3)}, torch.device("cpu"), torch.bfloat16, seconds=0.01)
    assert set(seen) == {torch.bfloat16, torch.float32}


@pytest.mark.parametrize(("slow", "dtype"), [(torch.bfloat16, "float32"), (torch.float32, "bfloat16")])
def test_speed_is_that_of_the_faster_data_type(slow, dtype):
    model = nn.Linear(3, 2)
    model.register_forward_hook(lambda _m, _i, out: time.sleep(0.002 * (out.dtype == slow)))
    found = speed({"a": model}, {"a": torch.randn(2, 3)}, torch.device("cpu"), torch.bfloat16, seconds=0.02)["a"]
    assert found.dtype == dtype
    assert found.latency_ms < 2
    assert found.latency_ms <= found.latency_p95_ms <= found.latency_p99_ms


def test_means_weigh_batches_by_their_samples():
    from distill.tasks.metrics import Means

    means = Means()
    means.update({"loss": torch.tensor(1.0), "kd": torch.tensor(2.0, dtype=torch.bfloat16)}, 3)
    means.update({"loss": torch.tensor(5.0, requires_grad=True), "kd": torch.tensor(4.0)}, 1)
    found = means.compute()
    assert {name: float(value) for name, value in found.items()} == {"loss": 2.0, "kd": 2.5}
    assert not found["loss"].requires_grad
    assert means.compute() == {}
    means.update({"hard": torch.tensor(7.0)}, 2)
    assert {name: float(value) for name, value in means.compute().items()} == {"hard": 7.0}


class HandsOn(nn.Module):
    """Calls a module with a parameter, as pooling by attention does; it cannot be copied."""

    def __init__(self):
        super().__init__()
        self.query, self.inner = nn.Parameter(torch.ones(3, 3)), nn.Linear(3, 3)
        self.lock = threading.Lock()

    def forward(self, x):
        return x @ self.inner(self.query)


def test_a_model_that_hands_on_a_parameter_and_cannot_be_copied_is_measured():
    model, example = HandsOn().train(), torch.randn(2, 3)
    frozen = model.inner.bias.requires_grad_(False)
    assert size(model, example).macs == 3 * 3 * 3 + 2 * 3 * 3
    assert speed({"a": model}, {"a": example}, torch.device("cpu"), None, seconds=0.01)["a"].batch == 2
    assert [p for p in model.parameters() if not p.requires_grad] == [frozen]
    assert model.training
