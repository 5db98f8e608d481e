"""How long calls take on a machine that does other things as well."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WARM_UP = 5
TRIES = 3
SPREAD = 2.0  # p95 / p50 above which a machine was busy; quiet ones have about 1.1
WAITED = 0.1  # share of the time in which a call did not have a CPU, likewise


@dataclass(frozen=True)
class Times:
    """The calls of several functions, in seconds by name.

    Attributes:
        busy: whether the machine did something else meanwhile: some calls took far longer than most (``SPREAD``), or
            the process waited for a CPU (``WAITED``).
    """

    seconds: Mapping[str, NDArray[np.float64]]
    busy: bool

    def percentiles(self, name: str) -> tuple[float, float, float]:
        """The 50th, 95th and 99th percentile of a call, in ms."""
        p50, p95, p99 = (float(value) for value in np.percentile(self.seconds[name], (50, 95, 99)))
        return p50 * 1e3, p95 * 1e3, p99 * 1e3


def alternate(
    calls: Mapping[str, Callable[[], object]],
    seconds: float,
    least: int,
    most: int | None = None,
    on_cpu: bool = True,
) -> Times:
    """Times several functions, one call of each in turn, so that noise of the machine meets all alike.

    The order is shuffled in each round: what always ran after one that fills the caches would look slower. Measured
    again while the machine is busy, ``TRIES`` times at most and within ``TRIES`` times the seconds; the fastest of busy
    tries is kept.

    Args:
        calls: by name; each returns when its work is done.
        seconds: to spend per function and try.
        least: rounds in a try.
        most: likewise; None: as many as fit.
        on_cpu: whether the work is done by the CPU, whose time tells that a process had to wait.
    """
    for call in calls.values():
        for _ in range(WARM_UP):
            call()
    tries: list[Times] = []
    budget = time.perf_counter() + TRIES * seconds * len(calls)
    while not tries or (len(tries) < TRIES and time.perf_counter() <= budget):
        tries.append(_once(calls, seconds, least, most, on_cpu))
        if not tries[-1].busy:
            return tries[-1]
    return min(tries, key=lambda times: sum(map(np.median, times.seconds.values())))


def _once(
    calls: Mapping[str, Callable[[], object]], seconds: float, least: int, most: int | None, on_cpu: bool
) -> Times:
    found: dict[str, list[float]] = {name: [] for name in calls}
    order, draw = list(calls.items()), random.Random(0)
    begun, worked = time.perf_counter(), time.thread_time()
    rounds, end = 0, begun + seconds * len(calls)
    while rounds < least or (time.perf_counter() < end and (most is None or rounds < most)):
        rounds += 1
        draw.shuffle(order)
        for name, call in order:
            start = time.perf_counter()
            call()
            found[name].append(time.perf_counter() - start)
    waited = 1 - (time.thread_time() - worked) / (time.perf_counter() - begun)
    times = {name: np.array(values) for name, values in found.items()}
    spread = max(float(np.divide(*np.percentile(values, (95, 50)))) for values in times.values())
    return Times(times, spread > SPREAD or (on_cpu and waited > WAITED))
