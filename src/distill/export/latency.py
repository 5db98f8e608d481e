"""Speed of several models, measured in turn, so that noise of the machine affects all alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from distill.export.parity import Runner
from distill.utils.timing import Times, alternate

LEAST_ONE, LEAST_MANY = 100, 5


@dataclass(frozen=True)
class Timing:
    """Latency of one sample in ms (p50, p95 and p99), and the batch size with the highest throughput.

    Attributes:
        median_ms, p95_ms, p99_ms: of a call at batch 1.
        best_batch: of those measured.
        throughput: samples per second at ``best_batch``, from its median time.
        best_median_ms, best_p95_ms, best_p99_ms: of a call at ``best_batch``.
        rounds: calls measured at batch 1.
        busy: whether the machine did something else meanwhile.
    """

    median_ms: float
    p95_ms: float
    p99_ms: float
    best_batch: int
    throughput: float
    best_median_ms: float
    best_p95_ms: float
    best_p99_ms: float
    rounds: int
    busy: bool = False


@torch.inference_mode()
def timings(
    models: Mapping[str, Runner], batch: Callable[[int], Any], sizes: Sequence[int], seconds: float
) -> dict[str, Timing]:
    """Times every model at every batch size, one call of each in turn: see ``distill.utils.timing``.

    Args:
        models: by name; each takes a batch.
        batch: makes a batch of a size.
        sizes: of the batches; 1 is among them.
        seconds: per model and batch size, three times as much where the machine is busy; at least 100 calls at batch 1,
            5 at others.
    """
    times: dict[int, Times] = {}
    for size in sizes:
        samples = batch(size)
        calls = {name: partial(model, samples) for name, model in models.items()}
        times[size] = alternate(calls, seconds, LEAST_ONE if size == 1 else LEAST_MANY)
    return {name: _timing(times, name) for name in models}


def _timing(times: Mapping[int, Times], name: str) -> Timing:
    best = max(times, key=lambda size: size / times[size].percentiles(name)[0])
    one, many = times[1].percentiles(name), times[best].percentiles(name)
    busy = times[1].busy or times[best].busy
    return Timing(*one, best, best / many[0] * 1e3, *many, len(times[1].seconds[name]), busy)
