"""A bare PyTorch loop on our fast path: what a user would write who knows all the words and needs none of the rest.

The same uint8 data path, bf16 where we take it, channels_last, torch.compile, SGD and its schedule; no metrics, no log,
no checkpoints, no finite-loss check.

    python -m distill.bench.bare '{"folder": "...", "turns": [5, 4], "compiled": true}'
"""

import json
import sys
from typing import Any

import torch
import torch.nn.functional as F

from distill import precision
from distill.bench import task
from distill.bench.player import Player
from distill.data import DataModule
from distill.measure import size


def main(argument: str) -> None:
    """Trains the student alone.

    Args:
        argument: JSON with ``folder`` and ``turns`` ([fd, warm-up steps]), ``compiled``.
    """
    given = json.loads(argument)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = DataModule(
        lambda: task.images(given["folder"]), task.BATCH, mean=task.MEAN, std=task.STD,
        augment={"crop_padding": 4, "flip": True},
    )  # fmt: skip
    data.setup()
    torch.manual_seed(0)
    student = task.model(task.STUDENT).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    macs = 3 * size(student, data.example(1).to(device)).macs * task.BATCH
    bf16 = precision.choose("auto", student, macs)[0] == "bf16-mixed"
    loader = data.train_dataloader()
    optimizer = torch.optim.SGD(student.parameters(), task.LR, momentum=task.MOMENTUM, weight_decay=task.DECAY)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, task.LR, len(loader), cycle_momentum=False)
    forward: Any = torch.compile(student) if given["compiled"] else student
    fd, warm_up = given["turns"]
    player = Player(fd, warm_up, torch.cuda.synchronize if torch.cuda.is_available() else None)
    for batch in loader:
        inputs, target = batch.inputs.to(device), batch.target.to(device)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss: Any = F.cross_entropy(forward(inputs), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        player.step()


if __name__ == "__main__":
    main(sys.argv[1])
