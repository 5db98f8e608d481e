"""Which precision ``auto`` is, on hardware of every kind."""

import pytest
import torch
from torch import nn

from distill.models import mobilenetv2, resnet8
from distill.utils.precision import SMALL_STEP, choose, resolve


@pytest.fixture
def machine(monkeypatch):
    def have(cuda=False, bf16_gpu=False, mps=False, amx=False, avx=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16_gpu)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)

    return have


@pytest.mark.parametrize(
    ("there", "accelerator", "expected"),
    [
        ({"cuda": True, "bf16_gpu": True}, "auto", "bf16-mixed"),
        ({"cuda": True, "bf16_gpu": False, "avx": True}, "auto", "32-true"),
        ({"cuda": True, "bf16_gpu": True}, "cpu", "32-true"),
        ({"mps": True, "amx": True}, "auto", "32-true"),
        ({"amx": True}, "auto", "bf16-mixed"),
        ({"avx": True}, "cpu", "bf16-mixed"),
        ({}, "auto", "32-true"),
    ],
)
def test_the_hardware_decides(machine, there, accelerator, expected):
    machine(**there)
    assert choose(accelerator, resnet8(10), 2 * SMALL_STEP)[0] == expected


def test_the_model_decides_on_a_cpu(machine):
    machine(amx=True)
    assert choose("cpu", resnet8(10), SMALL_STEP / 2) == ("32-true", "its step is too small for bf16 to pay")
    assert choose("cpu", mobilenetv2(10), 2 * SMALL_STEP)[0] == "32-true"
    assert choose("cpu", nn.Conv2d(4, 4, 3), 2 * SMALL_STEP) == ("bf16-mixed", "the CPU has AMX")


@pytest.mark.parametrize(
    ("stride", "padding", "side", "expected"),
    [
        (2, 1, 1, "32-true"),
        (2, 1, 2, "bf16-mixed"),
        (3, 1, 2, "32-true"),
        (1, 1, 1, "bf16-mixed"),
        (4, 0, 3, "bf16-mixed"),
    ],
)
def test_a_stride_over_a_smaller_map_is_not_trained_in_bf16_on_a_cpu(machine, stride, padding, side, expected):
    """torch leaves a part of its weight's gradient unset."""
    machine(avx=True)
    net = nn.Sequential(nn.Conv2d(2, 2, 3, stride, padding))
    assert choose("cpu", net, 2 * SMALL_STEP, {"0": (4, 2, side, side)})[0] == expected


def test_what_was_asked_for_is_taken(machine):
    machine()
    assert resolve("bf16-mixed", "cpu", resnet8(10), 0)[0] == "bf16-mixed"
