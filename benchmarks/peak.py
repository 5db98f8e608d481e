"""The highest rate of multiply-accumulates on this machine, that of a wide convolution: no training here beats it.

python -m benchmarks.peak '{"rounds": 5, "report": "..."}'
"""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks import task
from distill.utils.profiling import size

CHANNELS, MAP, BATCH = 256, 16, 64  # of the convolution, 3×3
SECONDS = 0.5  # of one precision in one round
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


def main(argument: str) -> None:
    """Writes its multiply-accumulates per second, and those of one sample's forward of both models.

    Args:
        argument: JSON with ``rounds`` and the file ``report``.
    """
    given = json.loads(argument)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    convolution = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False).requires_grad_(False)
    images = torch.randn(BATCH, CHANNELS, MAP, MAP)
    macs = BATCH * MAP**2 * 9 * CHANNELS**2
    place: Any = {"device": device, "memory_format": torch.channels_last}
    rates: dict[str, list[float]] = {"float32": [], "bf16": []}
    for turn in range(1 + given["rounds"]):
        for name, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16)):
            layer, maps = convolution.to(dtype=dtype, **place), images.to(dtype=dtype, **place)
            found = macs / repeated(partial(layer, maps), SECONDS, device)
            if turn:  # the first is the warm-up
                rates[name].append(found)
    models = {"teacher": task.TEACHER, "student": task.STUDENT}
    samples = {role: size(task.model(name), torch.zeros(1, 3, 32, 32)).macs for role, name in models.items()}
    Path(given["report"]).write_text(json.dumps({"rates": rates, "macs": samples}))


if __name__ == "__main__":
    main(sys.argv[1])
