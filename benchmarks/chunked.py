"""What a loss in chunks of rows costs beside whole logits: ``python -m benchmarks.chunked``.

Forward and backward of 0.5 · cross-entropy + 0.5 · KL from hidden states and output layers, random numbers in float32.
Each form is a process of its own, in turn, so that its peak of memory is its own; shown are the medians of the ratios
of a round.
"""

import argparse
import json
import subprocess
import sys
import time
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import memory
from distill.losses import chunked_loss, kd_loss
from distill.utils.environment import hardware


def loss(student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
    """The usual mix of labels and teacher."""
    return 0.5 * F.cross_entropy(student, target) + 0.5 * kd_loss(student, teacher, T=1.0)


def measure(form: str, rows: int, classes: int, width: int, chunk: int) -> dict[str, float]:
    """Seconds of one forward and backward, and the bytes by which the process's peak lies above what it began with."""
    torch.manual_seed(0)
    student, teacher = nn.Linear(width, classes, bias=False), nn.Linear(width, classes, bias=False)
    h, t = torch.randn(rows, width, requires_grad=True), torch.randn(rows, width)
    target = torch.randint(classes, (rows,))
    chunked_loss(loss, h[:8], student, t[:8], teacher, target[:8]).backward()  # type: ignore[no-untyped-call]
    # Libraries are loaded and gradients there: what comes now is the loss.
    before, start = memory.peak(), time.perf_counter()
    if form == "chunked":
        value = chunked_loss(loss, h, student, t, teacher, target, rows=chunk)
    else:
        with torch.no_grad():
            answers = teacher(t)
        value = loss(student(h), answers, target)
    value.backward()  # type: ignore[no-untyped-call]
    return {"seconds": time.perf_counter() - start, "bytes": float(memory.peak() - before)}


def main() -> None:
    """Prints both ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("rows", 8192), ("classes", 49152), ("width", 576), ("chunk", 256), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--form", choices=("plain", "chunked"))
    options = parser.parse_args()
    sizes = {name: getattr(options, name) for name in ("rows", "classes", "width", "chunk")}
    if options.form:
        print(json.dumps(measure(options.form, **sizes)))
        return
    command = [sys.executable, "-m", "benchmarks.chunked", *(f"--{name}={value}" for name, value in sizes.items())]
    ratios: dict[str, list[float]] = {"seconds": [], "bytes": []}
    for number in range(options.rounds):
        order = ("plain", "chunked") if number % 2 else ("chunked", "plain")
        results = {
            form: json.loads(subprocess.run([*command, f"--form={form}"], check=True, capture_output=True).stdout)
            for form in order
        }
        for key, values in ratios.items():
            values.append(results["chunked"][key] / results["plain"][key])
        print({form: {key: round(value, 2) for key, value in result.items()} for form, result in results.items()})
    print(hardware(torch.device("cpu")))
    for key, values in ratios.items():
        print(f"{key}, chunked over plain: {median(values):.3f} ({min(values):.3f} to {max(values):.3f})")


if __name__ == "__main__":
    main()
