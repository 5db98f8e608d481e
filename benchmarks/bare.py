"""A bare PyTorch loop on our fast path: what a user would write who knows all the words and needs none of the rest.

The same uint8 data path, bf16 where we take it, channels_last, torch.compile, a CUDA graph of the step, SGD and its
schedule; no metrics, no log, no checkpoints, no finite-loss check. One student alone; or several, one after the other
on each batch or (on CUDA) side by side, under one pass of their teacher, to see what a process gains that trains the
points of a sweep together.

    python -m benchmarks.bare '{"folder": "...", "turns": [5, 4], "compiled": true, "students": 1,
                                   "teacher": null, "beside": false}'
"""

import json
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import task
from benchmarks.player import Player
from distill.data import ImageDataModule
from distill.distillation.teacher import Teacher
from distill.losses.logits.kd import kd_loss
from distill.training.acceleration.cuda_graphs import GraphedCallable
from distill.training.acceleration.teacher import AcceleratedTeacher
from distill.utils import precision
from distill.utils.profiling import size


class Kept:
    """A teacher whose answers are all there: any numbers, by sample."""

    def __init__(self, samples: int, device: torch.device) -> None:
        self.logits = torch.randn(samples, task.CLASSES, device=device)

    def __call__(self, batch: Any) -> Tensor:
        """Logits (N, C)."""
        return self.logits[batch.index]


def main(argument: str) -> None:
    """Trains them.

    Args:
        argument: JSON with ``folder`` and ``turns`` ([fd, warm-up steps]), ``compiled``, ``students`` (their number),
            ``teacher``: null, "live", or "kept" as in a cache that costs nothing, and ``beside``: whether each student
            has a CUDA stream of its own.
    """
    given = json.loads(argument)
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    data = ImageDataModule.from_options(
        lambda: task.images(given["folder"]), task.BATCH, mean=task.MEAN, std=task.STD,
        augment={"crop_padding": 4, "flip": True},
    )  # fmt: skip
    data.setup()
    loader = data.train_dataloader()
    torch.manual_seed(0)
    place: Any = {"device": device, "memory_format": torch.channels_last}
    students: list[Any] = [task.model(task.STUDENT).to(**place) for _ in range(given["students"])]
    macs = 3 * size(students[0], data.example(1).to(device)).macs * task.BATCH
    bf16 = precision.choose("auto", students[0], macs)[0] == "bf16-mixed"
    optimizers = [
        torch.optim.SGD(student.parameters(), task.LR, momentum=task.MOMENTUM, weight_decay=task.DECAY, fused=cuda)
        for student in students
    ]
    schedulers = [
        torch.optim.lr_scheduler.OneCycleLR(optimizer, task.LR, len(loader), cycle_momentum=False)
        for optimizer in optimizers
    ]
    forwards: list[Any] = [torch.compile(student) if given["compiled"] else student for student in students]
    teacher: Any = Kept(data.num_train, device) if given["teacher"] == "kept" else None
    example = data.example(task.BATCH).to(**place)
    if given["teacher"] == "live":
        live = Teacher(task.teacher(Path(given["folder"])).to(**place), precision="bf16-mixed" if bf16 else "32-true")
        context = lambda: torch.autocast(device.type, enabled=False)  # noqa: E731
        AcceleratedTeacher(live, given["compiled"], cuda).prepare(example, context)
        teacher = lambda batch: live(batch).logits  # noqa: E731

    def step(forward: Any, inputs: Tensor, target: Tensor, *answers: Tensor) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = forward(inputs)
        loss = F.cross_entropy(logits.float(), target)
        for answer in answers:
            loss = task.ALPHA * loss + (1 - task.ALPHA) * kd_loss(logits, answer, task.T)
        loss.backward()  # type: ignore[no-untyped-call]

    steps: list[Any] = [partial(step, forward) for forward in forwards]
    if cuda:
        target = torch.zeros(task.BATCH, dtype=torch.int64, device=device)
        tensors = [example, target, *([torch.randn(task.BATCH, task.CLASSES, device=device)] if teacher else [])]
        steps = [
            GraphedCallable(run, tensors, [student], [*student.parameters()], stream=f"student {i}")
            for i, (run, student) in enumerate(zip(steps, students, strict=True))
        ]
    streams: list[Any] = [torch.cuda.Stream(device) if given["beside"] else None for _ in students]  # type: ignore[no-untyped-call]
    fd, warm_up = given["turns"]
    player = Player(fd, warm_up, torch.cuda.synchronize if cuda else None)
    for batch in loader:
        batch = type(batch)(batch.inputs.to(device), batch.target.to(device), batch.index.to(device))
        inputs = batch.inputs.contiguous(memory_format=torch.channels_last)
        answers = [teacher(batch)] if teacher is not None else []
        for run, optimizer, scheduler, stream in zip(steps, optimizers, schedulers, streams, strict=True):
            if stream is not None:
                stream.wait_stream(torch.cuda.current_stream())
            with nullcontext() if stream is None else torch.cuda.stream(stream):
                optimizer.zero_grad()
                run(inputs, batch.target, *answers)
                optimizer.step()
                scheduler.step()
        for stream in filter(None, streams):
            torch.cuda.current_stream().wait_stream(stream)
        player.step()


if __name__ == "__main__":
    main(sys.argv[1])
