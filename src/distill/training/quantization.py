"""Quantisation-aware distillation: a student is trained with fake quantisation of weights and inputs to int8."""

from typing import Any

import torch
from torch import Tensor, nn

LAYERS = (nn.Conv2d, nn.Linear)
MOMENTUM = 0.1


def fake_weight(weight: Tensor) -> Tensor:
    """Weights rounded to the int8 grid of their output channel: scale = max|w| / 127, symmetric.

    Folding BatchNorm for deployment multiplies an output channel and its scale by the same number, so the grid stays
    the same. Straight-through gradients.

    Args:
        weight: (out, ...).

    Source: Jacob et al. 2018, arXiv:1712.05877; torch's ``fake_quantize_per_channel_affine``.
    """
    flat = weight.detach().float().flatten(1)
    scale = (flat.abs().amax(1) / 127).clamp_min(1e-12)
    zero = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -127, 127)


class Range(nn.Module):
    """The range of one layer's input: moving minimum and maximum of the batches seen in training, 0 included."""

    low: Tensor
    high: Tensor
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("seen", torch.zeros((), dtype=torch.bool))

    def forward(self, x: Tensor, learn: bool) -> Tensor:
        """Any tensor rounded to 256 steps of the range, and clamped to it; as it is before the first training batch."""
        if learn:
            low, high = x.detach().float().aminmax()
            low, high = low.clamp_max(0), high.clamp_min(0)
            step = torch.where(self.seen, MOMENTUM, 1.0)
            self.low.lerp_(low, step)
            self.high.lerp_(high, step)
            self.seen.fill_(True)
        if not self.seen:
            return x
        scale = ((self.high - self.low) / 255).clamp_min(1e-12)
        zero = (-self.low / scale).round().clamp(0, 255).to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, 255)


class Int8(nn.Module):
    """Makes the convolutions and linear layers of a model compute as in int8: weights and inputs are rounded.

    The model's modules and parameter names stay the same; its float32 weights are trained. The ranges of the inputs
    are buffers of this module, and part of a checkpoint.

    Args:
        model: hooks are put on its layers. A layer whose weight is read by another module without being called
            (the output projection of ``nn.MultiheadAttention``) stays in float32.

    Attributes:
        on: whether layers round; off, the model computes in float.

    Raises:
        ValueError: the model has no such layer.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.on = True
        layers = [layer for layer in model.modules() if isinstance(layer, LAYERS)]
        if not layers:
            raise ValueError("the model has no convolution and no linear layer to quantise")
        self.ranges = nn.ModuleList(Range() for _ in layers)
        for layer, input_range in zip(layers, self.ranges, strict=True):
            layer.register_forward_pre_hook(_FakeQuantize(self, input_range))
            layer.register_forward_hook(_restore, always_call=True)


class _FakeQuantize:
    """A forward pre-hook: rounds the input, and replaces the weight by a rounded one until the forward is done."""

    def __init__(self, int8: Int8, input_range: nn.Module) -> None:
        self.int8, self.input_range = int8, input_range

    def __call__(self, layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not self.int8.on:
            return None
        weight = layer._parameters["weight"]
        assert weight is not None
        layer.__dict__["_float_weight"] = weight
        layer._parameters["weight"] = fake_weight(weight)  # type: ignore[assignment]  # a tensor, for this call
        return (self.input_range(inputs[0], learn=layer.training), *inputs[1:])


def _restore(layer: nn.Module, _inputs: Any, _output: Any) -> None:
    weight = layer.__dict__.pop("_float_weight", None)
    if weight is not None:
        layer._parameters["weight"] = weight
