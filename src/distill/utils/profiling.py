"""Size and speed of a model: what distillation is for."""

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import safetensors.torch
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Size:
    """Parameters (number), multiply-accumulates (of convolutions and matrix products, one sample), bytes on disk."""

    parameters: int
    macs: int
    bytes: int


@dataclass(frozen=True)
class Speed:
    """Median latency at batch 1 in ms, throughput at the given batch in samples per second."""

    latency_ms: float
    throughput: float
    batch: int


def size(model: nn.Module, example: Any) -> Size:
    """Counts one model; ``example`` holds one sample.

    Multiply-accumulates are torch's ``FlopCounterMode`` / 2, bytes those of its ``state_dict`` as a safetensors file.
    """
    training, fast = model.training, torch.backends.mha.get_fastpath_enabled()
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)  # the counter does not see into it
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(example)
    torch.backends.mha.set_fastpath_enabled(fast)
    model.train(training)
    weights = {name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}
    parameters = sum(p.numel() for p in model.parameters())
    return Size(parameters, counter.get_total_flops() // 2, len(safetensors.torch.save(weights)))


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
        autocast: data type of autocast; None for the models' own.
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
