"""Speed of several models, measured in turn, so that noise of the machine affects all alike."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from distill.utils.timing import Times, alternate

BATCHES = (1, 4, 16, 64, 256)
LEAST_ONE, LEAST_MANY = 100, 5


@dataclass(frozen=True)
class Timing:
    """Latency of one sample in ms (p50, p95 and p99), and the batch size with the highest throughput.

    Attributes:
        median_ms, p95_ms, p99_ms: of a call at batch 1.
        best_batch: of ``BATCHES``.
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
def timings(models: Mapping[str, Callable[[Tensor], Tensor]], images: Tensor, seconds: float) -> dict[str, Timing]:
    """Times every model at every batch size of ``BATCHES``, one call of each in turn: see ``distill.utils.timing``.

    Args:
        models: by name; each takes a batch of ``images``.
        images: at least one; repeated to fill a batch.
        seconds: per model and batch size, three times as much where the machine is busy; at least 100 calls at batch 1,
            5 at others.
    """
    times: dict[int, Times] = {}
    for size in BATCHES:
        batch = images.repeat(-(-size // len(images)), 1, 1, 1)[:size].contiguous()
        calls = {name: partial(model, batch) for name, model in models.items()}
        times[size] = alternate(calls, seconds, LEAST_ONE if size == 1 else LEAST_MANY)
    return {name: _timing(times, name) for name in models}


def _timing(times: Mapping[int, Times], name: str) -> Timing:
    best = max(times, key=lambda size: size / times[size].percentiles(name)[0])
    one, many = times[1].percentiles(name), times[best].percentiles(name)
    busy = times[1].busy or times[best].busy
    return Timing(*one, best, best / many[0] * 1e3, *many, len(times[1].seconds[name]), busy)
