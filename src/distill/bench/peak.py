"""The highest rate of multiply-accumulates on this machine, that of a wide convolution: no training here beats it.

python -m distill.bench.peak '{"rounds": 5, "report": "..."}'
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from distill.bench import task
from distill.measure import size

CHANNELS, MAP, BATCH = 256, 16, 64  # of the convolution, 3×3
SECONDS = 0.5  # of one precision in one round, and at least two forwards


def main(argument: str) -> None:
    """Writes its multiply-accumulates per second, and those of one sample's forward of both models.

    Args:
        argument: JSON with ``rounds`` and the file ``report``.
    """
    given = json.loads(argument)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    wait: Callable[[], Any] = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    convolution = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False).requires_grad_(False)
    images = torch.randn(BATCH, CHANNELS, MAP, MAP)
    macs = BATCH * MAP**2 * 9 * CHANNELS**2
    place: Any = {"device": device, "memory_format": torch.channels_last}
    rates: dict[str, list[float]] = {"float32": [], "bf16": []}
    for turn in range(1 + given["rounds"]):
        for name, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16)):
            layer, maps = convolution.to(dtype=dtype, **place), images.to(dtype=dtype, **place)
            layer(maps)
            wait()
            begun, times = time.perf_counter(), 0
            while times < 2 or time.perf_counter() - begun < SECONDS:
                layer(maps)
                wait()
                times += 1
            if turn:  # the first is the warm-up
                rates[name].append(times * macs / (time.perf_counter() - begun))
    models = {"teacher": task.TEACHER, "student": task.STUDENT}
    samples = {role: size(task.model(name), torch.zeros(1, 3, 32, 32)).macs for role, name in models.items()}
    Path(given["report"]).write_text(json.dumps({"rates": rates, "macs": samples}))


if __name__ == "__main__":
    main(sys.argv[1])
