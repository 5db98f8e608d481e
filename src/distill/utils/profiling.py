"""Size and speed of a model: what distillation is for."""

import copy
import json
import time
from collections.abc import Mapping
from statistics import median
from typing import Any
from weakref import WeakKeyDictionary

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from distill.utils.measurements import Size, Speed
from distill.utils.modes import evaluating

# Data types in the order in which safetensors writes tensors: the largest alignment first.
_DTYPES = (
    "U64", "I64", "F64", "C64", "F32", "U32", "I32", "BF16", "F16", "U16", "I16", "F8_E5M2FNUZ", "F8_E4M3FNUZ",
    "F8_E4M3", "F8_E5M2", "I8", "U8", "BOOL",
)  # fmt: skip
_macs: WeakKeyDictionary[nn.Module, tuple[Any, int]] = WeakKeyDictionary()  # by model: what was counted, the number


def size(model: nn.Module, example: Any) -> Size:
    """Counts one model; ``example`` holds one sample.

    Multiply-accumulates are torch's ``FlopCounterMode`` / 2, counted once per model and shape; bytes are those of its
    ``state_dict`` as a safetensors file.
    """
    key = (repr(model), example.shape)
    if model not in _macs or _macs[model][0] != key:
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # the counter does not see into it
        try:
            with evaluating(model), FlopCounterMode(display=False) as counter:
                model(example)
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
        _macs[model] = (key, counter.get_total_flops() // 2)
    return Size(sum(p.numel() for p in model.parameters()), _macs[model][1], safetensors_bytes(model.state_dict()))


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
    example: Any,
    device: torch.device,
    autocast: torch.dtype | None,
    seconds: float = 1.0,
) -> dict[str, Speed]:
    """Latency and throughput of several models on one device, in turn, so that noise meets all alike.

    Args:
        models: by name; copies of them are measured, in eval mode, frozen, on ``device``. Under autocast, casting the
            weights is part of every forward.
        example: a batch at the training batch size, in ``device``'s memory; its first sample is the batch of 1.
        device: where to measure.
        autocast: data type of autocast; None: none.
        seconds: time to spend per model and batch size, at least 5 rounds.
    """
    frozen = {name: copy.deepcopy(model).eval().requires_grad_(False).to(device) for name, model in models.items()}
    batches = {"one": example[:1], "full": example}
    times: dict[tuple[str, str], list[float]] = {(name, kind): [] for name in frozen for kind in batches}

    def forward(model: nn.Module, batch: Any) -> float:
        wait()
        start = time.perf_counter()
        with torch.no_grad(), torch.autocast(device.type, autocast or torch.bfloat16, enabled=autocast is not None):
            model(batch)
        wait()
        return time.perf_counter() - start

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    for kind, batch in batches.items():
        for model in frozen.values():
            for _ in range(3):  # warm-up
                forward(model, batch)
        rounds, end = 0, time.perf_counter() + seconds * len(frozen)
        while rounds < 5 or (time.perf_counter() < end and rounds < 200):
            rounds += 1
            for name, model in frozen.items():
                times[name, kind].append(forward(model, batch))
    return {
        name: Speed(
            latency_ms=median(times[name, "one"]) * 1e3,
            throughput=len(example) / median(times[name, "full"]),
            batch=len(example),
        )
        for name in models
    }
