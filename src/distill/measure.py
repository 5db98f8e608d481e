"""Size and speed of a model: what distillation is for."""

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
    training = model.training
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(example)
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
        models: by name; each is put in eval mode and moved to ``device``.
        example: a batch at the training batch size, in ``device``'s memory; its first sample is the batch of 1.
        device: where to measure.
        autocast: data type of autocast; None for the models' own.
        seconds: time to spend per model and batch size, at least 5 rounds.
    """
    batches = {"one": example[:1], "full": example}
    times: dict[tuple[str, str], list[float]] = {(name, kind): [] for name in models for kind in batches}

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    with torch.no_grad(), torch.autocast(device.type, autocast or torch.bfloat16, enabled=autocast is not None):
        for kind, batch in batches.items():
            for model in models.values():  # warm-up
                model.eval().to(device)
                for _ in range(3):
                    model(batch)
            rounds, end = 0, time.perf_counter() + seconds * len(models)
            while rounds < 5 or (time.perf_counter() < end and rounds < 200):
                rounds += 1
                for name, model in models.items():
                    wait()
                    start = time.perf_counter()
                    model(batch)
                    wait()
                    times[name, kind].append(time.perf_counter() - start)
    return {
        name: Speed(
            latency_ms=median(times[name, "one"]) * 1e3,
            throughput=len(example) / median(times[name, "full"]),
            batch=len(example),
        )
        for name in models
    }
