"""Speed of several models, measured in turn, so that noise of the machine affects all alike."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BATCHES = (1, 4, 16, 64, 256)
WARM_UP, LEAST_ONE, LEAST_MANY = 5, 100, 5


@dataclass(frozen=True)
class Timing:
    """Latency of one sample in ms (median, 95th and 99th percentile), and the batch size with the highest throughput.

    Attributes:
        median_ms, p95_ms, p99_ms: of a call at batch 1.
        best_batch: of ``BATCHES``.
        throughput: samples per second at ``best_batch``, from its median time.
        best_median_ms, best_p95_ms, best_p99_ms: of a call at ``best_batch``.
        rounds: calls measured at batch 1.
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


def timings(models: Mapping[str, Callable[[Tensor], Tensor]], images: Tensor, seconds: float) -> dict[str, Timing]:
    """Times every model at every batch size of ``BATCHES``, one call of each in turn.

    The order is shuffled in each round: a model that always ran after one that fills the caches would look slower.

    Args:
        models: by name; each takes a batch of ``images``.
        images: at least one; repeated to fill a batch.
        seconds: per model and batch size; at least 100 calls at batch 1, 5 at others.
    """
    times_of: dict[int, dict[str, np.ndarray]] = {}
    for size in BATCHES:
        batch = images.repeat(-(-size // len(images)), 1, 1, 1)[:size].contiguous()
        times_of[size] = _alternate(models, batch, seconds, LEAST_ONE if size == 1 else LEAST_MANY)
    return {name: _timing({size: times[name] for size, times in times_of.items()}) for name in models}


@torch.inference_mode()
def _alternate(
    models: Mapping[str, Callable[[Tensor], Tensor]], batch: Tensor, seconds: float, least: int
) -> dict[str, np.ndarray]:
    """Seconds of each call, by model."""
    for run in models.values():
        for _ in range(WARM_UP):
            run(batch)
    seconds_of: dict[str, list[float]] = {name: [] for name in models}
    order, draw = list(models.items()), random.Random(0)
    end, rounds = time.perf_counter() + seconds * len(models), 0
    while rounds < least or time.perf_counter() < end:
        rounds += 1
        draw.shuffle(order)
        for name, run in order:
            start = time.perf_counter()
            run(batch)
            seconds_of[name].append(time.perf_counter() - start)
    return {name: np.array(times) for name, times in seconds_of.items()}


def _timing(times: dict[int, np.ndarray]) -> Timing:
    best = max(times, key=lambda size: size / float(np.median(times[size])))
    one, many = ([float(v) for v in np.percentile(times[size] * 1e3, (50, 95, 99))] for size in (1, best))
    rate = best / many[0] * 1e3
    return Timing(one[0], one[1], one[2], best, rate, many[0], many[1], many[2], len(times[1]))
