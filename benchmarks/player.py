"""One side of the benchmark within its process: so many steps when it is its turn, and no work in between."""

import math
import time
from collections.abc import Callable
from multiprocessing.connection import Connection


class Player:
    """Counts a side's steps; after its warm-up, and after each turn, it reports what they took and waits for the next.

    Reported are the seconds and the processor seconds of all its threads: where these are few, others had the cores.
    A turn's clock runs from the end of one step to the end of another, so that it holds all that a step takes: its
    data, the loop, the device's work.

    Args:
        fd: of the connection to the process that started this one (see ``turns``).
        warm_up: steps before the first turn; compilation and everything else that happens once is over by then.
        wait: for the device; None: there is none to wait for.
    """

    def __init__(self, fd: int, warm_up: int, wait: Callable[[], object] | None = None) -> None:
        self._wait = wait
        self._pipe = Connection(fd)
        self._left: float = warm_up
        self._begin()

    def _begin(self) -> None:
        self._begun, self._used = time.perf_counter(), time.process_time()

    def step(self) -> None:
        """A step is done."""
        self._left -= 1
        if self._left > 0:
            return
        if self._wait is not None:
            self._wait()
        self._pipe.send((time.perf_counter() - self._begun, time.process_time() - self._used))
        steps = self._pipe.recv()
        self._left = steps or math.inf  # 0: on to the end
        self._begin()
