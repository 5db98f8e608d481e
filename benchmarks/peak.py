"""The highest rate of multiply-accumulates on this machine: the best of several layers and forms of them.

python -m benchmarks.peak '{"rounds": 5, "report": "..."}'
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks import task
from distill.utils.profiling import size

BATCH = 64
SHAPES = ((64, 32, 3), (128, 32, 3), (256, 16, 3), (512, 8, 3), (1024, 8, 1))  # channels, side of the map, kernel
SECONDS = 0.25  # of one form in one round
AT_ONCE = 100  # forwards on a GPU before it is waited for: waiting for each would take longer than it


def repeated(function: Callable[[], Any], seconds: float, device: torch.device) -> float:
    """Seconds of one call, the mean over so many seconds and at least two calls."""
    on_gpu = device.type == "cuda"
    torch.cuda.synchronize(device) if on_gpu else None
    begun, times = time.perf_counter(), 0
    while times < 2 or time.perf_counter() - begun < seconds:
        for _ in range(AT_ONCE if on_gpu else 1):
            function()
            times += 1
        torch.cuda.synchronize(device) if on_gpu else None
    return (time.perf_counter() - begun) / times


def _forms(dtype: torch.dtype, device: torch.device) -> Iterator[tuple[str, int, Callable[[], Any]]]:
    """Forwards of convolutions, as they are and compiled with weights that stay: name, multiply-accumulates, call."""
    for channels, side, kernel in SHAPES:
        layer = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, bias=False).requires_grad_(False).eval()
        images = torch.randn(BATCH, channels, side, side)
        place: Any = {"device": device, "dtype": dtype, "memory_format": torch.channels_last}
        layer, images = layer.to(**place), images.to(**place)
        macs = BATCH * side**2 * kernel**2 * channels**2
        name = f"{kernel}×{kernel}, {channels} channels, {side}×{side}"
        yield name, macs, partial(layer, images)
        compiled = torch.compile(layer, options={"freezing": True})
        yield f"{name}, compiled", macs, torch.no_grad()(partial(compiled, images))


def main(argument: str) -> None:
    """Writes multiply-accumulates per second by precision and form, and those of one sample's forward of both models.

    Args:
        argument: JSON with ``rounds`` and the file ``report``.
    """
    given = json.loads(argument)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rates: dict[str, dict[str, list[float]]] = {"float32": {}, "bf16": {}}
    ready = [
        (rates[name].setdefault(form, []), macs, function)
        for name, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16))
        for form, macs, function in _forms(dtype, device)
    ]
    for turn in range(1 + given["rounds"]):
        for found, macs, function in ready:
            rate = macs / repeated(function, SECONDS, device)
            if turn:  # the first is the warm-up
                found.append(rate)
    models = {"teacher": task.TEACHER, "student": task.STUDENT}
    samples = {role: size(task.model(name), torch.zeros(1, 3, 32, 32)).macs for role, name in models.items()}
    Path(given["report"]).write_text(json.dumps({"rates": rates, "macs": samples}))


if __name__ == "__main__":
    main(sys.argv[1])
