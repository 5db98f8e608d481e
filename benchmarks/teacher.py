"""The teacher's forward pass in each of the forms that it can take, one after the other, several times.

python -m benchmarks.teacher '{"rounds": 5, "report": "..."}'
"""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import task
from benchmarks.peak import repeated
from distill.data import Batch
from distill.distillation.feature_extractor import FeatureExtractor
from distill.distillation.teacher import Teacher
from distill.training.acceleration import compilation
from distill.training.acceleration.teacher import AcceleratedTeacher
from distill.utils import precision

SECONDS = 1.0  # of a form in one round


def _unfolded(model: torch.nn.Module, inputs: Tensor, kind: str) -> Callable[[], Any]:
    """Compiled as a student is, its BatchNorms left where they are."""
    extractor = FeatureExtractor(model)
    compilation.compile_forward(extractor, inputs)

    def forward() -> Any:
        with torch.no_grad(), precision.context(kind, inputs.device.type):
            return extractor(inputs)

    return forward


def _ours(model: torch.nn.Module, inputs: Tensor, kind: str, compiled: bool, cuda_graph: bool) -> Callable[[], Any]:
    """As the program's teacher answers."""
    teacher = Teacher(model, precision=kind)
    context = partial(precision.context, kind, inputs.device.type)
    AcceleratedTeacher(teacher, compiled, cuda_graph).prepare(inputs, context)
    rows = torch.arange(len(inputs), device=inputs.device)
    return lambda: teacher(Batch(inputs, rows, rows))


def forms(device: torch.device) -> dict[str, Callable[[], Any]]:
    """The forms by name, ready to be called."""
    images = task.synthetic(task.BATCH)[0].to(device).float() / 255
    fast = images.contiguous(memory_format=torch.channels_last)

    def made() -> torch.nn.Module:
        torch.manual_seed(0)
        return task.model(task.TEACHER).to(device).eval()

    def last() -> torch.nn.Module:
        return made().to(memory_format=torch.channels_last)

    bf16 = precision.choose("auto", made(), float("inf"))[0]
    name = "bf16" if bf16 == "bf16-mixed" else "float32"
    compilation.reset()
    found = {
        "float32, eager": _ours(made(), images, "32-true", False, False),
        f"{name}, channels_last": _ours(last(), fast, bf16, False, False),
        f"{name}, channels_last, compiled": _unfolded(last(), fast, bf16),
    }
    if device.type == "cuda":
        return found | {f"{name}, channels_last, compiled, captured": _ours(last(), fast, bf16, True, True)}
    return found | {f"{name}, channels_last, compiled, BatchNorm folded": _ours(last(), fast, bf16, True, False)}


def main(argument: str) -> None:
    """Writes the seconds of a forward of one batch, by form and round.

    Args:
        argument: JSON with ``rounds`` and the file ``report``.
    """
    given = json.loads(argument)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ready = forms(device)
    for forward in ready.values():
        for _ in range(3):
            forward()
    seconds: dict[str, list[float]] = {name: [] for name in ready}
    for _ in range(given["rounds"]):
        for name, forward in ready.items():
            seconds[name].append(repeated(forward, SECONDS, device))
    Path(given["report"]).write_text(json.dumps({"seconds": seconds, "images": task.BATCH}))


if __name__ == "__main__":
    main(sys.argv[1])
