"""Where the time of our steps goes: torch's operators, and Python's functions."""

import cProfile
import json
import pstats
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from torch.profiler import ProfilerActivity, profile

SHOWN = 10


class Profile(L.Callback):
    """Profiles two stretches of steps, the operators in the first and Python's functions in the second.

    Args:
        file: JSON with ``operators`` and ``functions``: [name, share of the stretch's own time], the largest first.
        warm_up: steps before the first stretch.
        steps: of each stretch.
    """

    def __init__(self, file: str, warm_up: int, steps: int) -> None:
        self.file = Path(file)
        self.first, self.steps = warm_up, steps
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
        self._operators = profile(activities=activities)
        self._functions = cProfile.Profile()

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:  # noqa: ARG002
        """Turns the profilers on and off."""
        step = trainer.global_step
        if step == self.first:
            self._operators.start()
        elif step == self.first + self.steps:
            self._operators.stop()
            self._functions.enable()
        elif step == self.first + 2 * self.steps:
            self._functions.disable()
            self.file.write_text(json.dumps({"operators": self._top_operators(), "functions": self._top_functions()}))

    def _top_operators(self) -> list[tuple[str, float]]:
        found = self._operators.key_averages()
        cuda = torch.cuda.is_available()
        times = {e.key: e.self_device_time_total if cuda else e.self_cpu_time_total for e in found}
        return _largest(times)

    def _top_functions(self) -> list[tuple[str, float]]:
        stats: Any = pstats.Stats(self._functions)
        times = {f"{Path(file).name}:{name}": own for (file, _, name), (_, _, own, *_) in stats.stats.items()}
        return _largest(times)


def _largest(times: dict[str, float]) -> list[tuple[str, float]]:
    """The largest, as shares of all."""
    total = sum(times.values()) or 1.0
    return [(name, time / total) for name, time in sorted(times.items(), key=lambda item: -item[1])[:SHOWN]]
