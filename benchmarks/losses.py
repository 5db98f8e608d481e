"""What the losses cost: ``python -m benchmarks.losses`` times every method's terms beside a training step.

The step is resnet8x4's (forward, cross-entropy, backward, SGD) at batch 64 on 32×32 images and 100 classes, the
teacher resnet32x4; a method's time is that of its whole criterion, forward and backward down to the student's outputs
and its own parameters, less cross-entropy's. In every round all are timed once, in turn; shown are the medians of
their shares of that round's step.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch

from benchmarks.methods import BATCH, build_method, build_pair, enter_working_stage, of_maps, random_outputs
from distill.data import Batch
from distill.utils.environment import hardware

CLASSES = 100


def _step(student: torch.nn.Module, autocast: Any) -> Callable[[], None]:
    """One training step of the student alone."""
    optimizer = torch.optim.SGD(student.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    x = torch.randn(BATCH, 3, 32, 32).to(memory_format=torch.channels_last)
    target = torch.arange(BATCH) % CLASSES

    def step() -> None:
        optimizer.zero_grad()
        with autocast():
            logits = student(x)
        loss: Any = torch.nn.functional.cross_entropy(logits.float(), target)
        loss.backward()
        optimizer.step()

    return step


def _loss(name: str, nets: Any, autocast: Any, dtype: torch.dtype) -> Callable[[], None]:
    """Forward and backward of a method's criterion on random outputs."""
    criterion, student, _ = build_method(name, nets)
    criterion = criterion.to(memory_format=torch.channels_last)
    criterion.start_epoch(0, 1)
    enter_working_stage(criterion)

    def cast(outputs: Any, grad: bool) -> Any:
        def one(x: Any) -> Any:
            if x is None:
                return None
            x = x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x  # as the models give them
            return x.detach().to(dtype).requires_grad_(grad)

        features = {key: one(value) for key, value in outputs.features.items()}
        return outputs._replace(logits=one(outputs.logits), features=features, embedding=one(outputs.embedding))

    given = cast(random_outputs(criterion, "student", student, BATCH), True)
    taught = cast(random_outputs(criterion, "teacher", nets[1], BATCH), False)
    batch = Batch(torch.zeros(BATCH, 1), torch.arange(BATCH) % CLASSES, torch.arange(BATCH))

    def loss() -> None:
        with autocast():
            total = criterion(given, taught, batch).total
        total.backward()

    return loss


def _timed(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def shares(names: Sequence[str], rounds: int, bf16: bool) -> tuple[float, dict[str, float]]:
    """Median seconds of a step, and every method's median share of it.

    Args:
        names: options of the group kd.
        rounds: how often everything is timed, after two rounds of warm-up.
        bf16: under bf16 autocast, the outputs in bf16.
    """

    def autocast() -> Any:
        return torch.autocast("cpu", torch.bfloat16, enabled=bf16)

    nets = build_pair(CLASSES)
    step = _step(build_pair(CLASSES)[0].model.to(memory_format=torch.channels_last), autocast)
    dtype = torch.bfloat16 if bf16 else torch.float32
    losses = {name: _loss(name, nets, autocast, dtype) for name in ["none", *names]}
    seen: dict[str, list[float]] = {name: [] for name in losses}
    steps = []
    for i in range(rounds + 2):
        whole = _timed(step)
        took = {name: _timed(loss) for name, loss in losses.items()}
        if i >= 2:
            steps.append(whole)
            for name, seconds in took.items():
                seen[name].append((seconds - took["none"]) / whole)
    return median(steps), {name: median(found) for name, found in seen.items() if name != "none"}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.losses", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="options of the group kd; none: all of them")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--bf16", action="store_true", help="under bf16 autocast")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args(arguments)
    for name in given.names:
        if name not in of_maps():
            parser.error(f"kd has no option '{name}'; there are {', '.join(of_maps())}")
    torch.set_num_threads(given.threads)
    names = given.names or [name for name in of_maps() if name != "none"]
    step, found = shares(names, given.rounds, given.bf16)
    device = vars(hardware(torch.device("cpu")))
    print(
        f"{device}, threads {given.threads}, torch {torch.__version__}, {'bf16' if given.bf16 else 'float32'}; ", end=""
    )
    print(f"step of resnet8x4 at batch {BATCH}: {1e3 * step:.0f} ms, medians of {given.rounds} rounds\n")
    print("| kd | share of a step |\n| --- | --- |")
    for name, share in sorted(found.items(), key=lambda item: item[1]):
        print(f"| {name} | {100 * share:.1f} % |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
