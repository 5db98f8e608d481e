"""Size and speed of a model: what distillation is for."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from statistics import geometric_mean
from typing import Any
from weakref import WeakKeyDictionary

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from distill.utils.checkpoints import weights_of
from distill.utils.inputs import first_samples, num_samples, shapes
from distill.utils.measurements import Size, Speed
from distill.utils.modes import frozen
from distill.utils.timing import Times, alternate

# Data types in the order in which safetensors writes tensors: the largest alignment first.
_DTYPES = (
    "U64", "I64", "F64", "C64", "F32", "U32", "I32", "BF16", "F16", "U16", "I16", "F8_E5M2FNUZ", "F8_E4M3FNUZ",
    "F8_E4M3", "F8_E5M2", "I8", "U8", "BOOL",
)  # fmt: skip
GAIN = 1.05  # how many times faster a half precision is, to be worth its rounding
_macs: WeakKeyDictionary[nn.Module, tuple[Any, int]] = WeakKeyDictionary()  # by model: what was counted, the number


def size(model: nn.Module, example: Any, used: nn.Module | None = None) -> Size:
    """Counts one model; ``example`` holds one sample, ``used`` is the form in which it is run where that is another.

    Multiply-accumulates are torch's ``FlopCounterMode`` / 2, counted once per model and shape; bytes are those of its
    ``state_dict`` as a safetensors file.
    """
    key, used = (repr(model), shapes(example)), model if used is None else used
    if model not in _macs or _macs[model][0] != key:
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # the counter does not see into it
        try:
            with frozen(used), FlopCounterMode(display=False) as counter:  # it fails at parameters in arguments
                used(example)
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
        _macs[model] = (key, counter.get_total_flops() // 2)
    return Size(sum(p.numel() for p in model.parameters()), _macs[model][1], safetensors_bytes(weights_of(model)))


def safetensors_bytes(weights: Mapping[str, Tensor]) -> int:
    """Length of a safetensors file of these tensors: 8 bytes, a JSON header filled up to a multiple of 8, the data."""
    names = {dtype: name for name, dtype in safetensors.torch._TYPES.items()}
    header, end = {}, 0
    for name in sorted(weights, key=lambda name: (_DTYPES.index(names[weights[name].dtype]), name)):
        tensor = weights[name]
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return 8 + -(-len(text) // 8) * 8 + end


def speed(
    models: Mapping[str, nn.Module],
    examples: Mapping[str, Any],
    device: torch.device,
    half: torch.dtype | None,
    seconds: float = 1.0,
) -> dict[str, Speed]:
    """Latency and throughput of several models on one device, in turn, so that noise meets all alike.

    They are measured in float32, and in ``half`` where that is faster: at batch 1, by ``GAIN`` in the geometric mean.

    Args:
        models: by name; they are measured in eval mode, frozen, and moved to ``device``. Under autocast, casting the
            weights is part of every forward.
        examples: likewise, a batch at the training batch size, in ``device``'s memory; its first sample is the batch
            of 1.
        device: where to measure.
        half: data type of autocast in which the models were tested, to be compared with float32; None: none.
        seconds: time to spend per model, batch size and data type, at least 5 rounds; up to three times as much where
            the machine is busy.
    """

    def forward(model: nn.Module, batch: Any, dtype: torch.dtype | None) -> None:
        with torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):
            model(batch)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def times(batches: Mapping[str, Any], dtype: torch.dtype | None) -> Times:
        calls = {name: partial(forward, model, batches[name], dtype) for name, model in models.items()}
        return alternate(calls, seconds, least=5, most=200, on_cpu=device.type == "cpu")

    with ExitStack() as stack:
        for model in models.values():
            stack.enter_context(frozen(model.to(device)))
        single = {name: first_samples(example, 1) for name, example in examples.items()}
        one, dtype = times(single, None), None
        if half is not None:
            other = times(single, half)
            ratios = [other.percentiles(name)[0] / one.percentiles(name)[0] for name in models]
            if geometric_mean(ratios) < 1 / GAIN:
                one, dtype = other, half
        full = times(examples, dtype)
    found = {}
    for name in models:
        p50, p95, p99 = one.percentiles(name)
        found[name] = Speed(
            latency_ms=p50,
            throughput=num_samples(examples[name]) / full.percentiles(name)[0] * 1e3,
            batch=num_samples(examples[name]),
            latency_p95_ms=p95,
            latency_p99_ms=p99,
            dtype=str(dtype or torch.float32).removeprefix("torch."),
            busy=one.busy or full.busy,
        )
    return found
