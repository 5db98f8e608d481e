"""The peer: torchdistill trains the same student under the same teacher, the way its own recipes do.

Its ``DistillationBox`` with its ``KDLoss``, its data loaders over torchvision's transforms, its loop of epochs with
validation after each and a test of both models at the end, in float32, as it ships. Models and images are ours, so that
both sides do the same work.

    python -m benchmarks.peer '{"folder": "...", "epochs": 2}'
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import Dataset, RandomSampler, SequentialSampler
from torchvision import transforms

from benchmarks import peer_config, task
from benchmarks.player import Player


class Images(Dataset[tuple[Any, int]]):
    """Images in memory that become PIL images and pass through transforms one by one, as torchvision's CIFAR10 does."""

    def __init__(self, folder: Path, split: str, transform: Any) -> None:
        pixels, labels = task.read(folder, split)
        self.data = pixels.permute(0, 2, 3, 1).contiguous().numpy()
        self.targets = labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.data[index])), self.targets[index]


def box(given: dict[str, Any], device: torch.device) -> Any:
    """Its training box from its configuration, as its YAML files write it."""
    from torchdistill.core.distillation import DistillationBox

    folder, workers = Path(given["folder"]), given["workers"]
    scale = [transforms.ToTensor(), transforms.Normalize(task.MEAN, task.STD)]
    views = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
    data = {
        "train": Images(folder, "train", transforms.Compose([*views, *scale])),
        "val": Images(folder, "val", transforms.Compose(scale)),
        "test": Images(folder, "test", transforms.Compose(scale)),
    }
    batches = {"batch_size": task.BATCH, "num_workers": workers, "pin_memory": device.type == "cuda"}
    config = {
        "num_epochs": given["epochs"],
        "train_data_loader": peer_config.loader("train", RandomSampler, **batches, drop_last=False),
        "val_data_loader": peer_config.loader("val", SequentialSampler, **batches, drop_last=False),
        **peer_config.models("forward_batch_only"),
        "optimizer": {
            "key": "SGD",
            "kwargs": {"lr": task.LR, "momentum": task.MOMENTUM, "weight_decay": task.DECAY},
        },
        "criterion": peer_config.criterion(".", task.T, task.ALPHA),
    }
    teacher = task.teacher(folder).to(device)
    torch.manual_seed(0)
    student = task.model(task.STUDENT).to(device)
    made = DistillationBox(teacher, student, data, config, device, None, False, 1)
    made.teacher_model.eval()
    return made


def train(made: Any, epoch: int, device: torch.device, player: Player | None, stamps: list[float]) -> None:
    """One epoch as its image classification example runs it; ``stamps`` gets the time of each step's end."""
    from torchdistill.misc.log import MetricLogger, SmoothedValue

    meters = MetricLogger(delimiter="  ")
    meters.add_meter("lr", SmoothedValue(window_size=1, fmt="{value}"))
    made.pre_epoch_process(epoch=epoch)
    for samples, targets, more in meters.log_every(made.train_data_loader, 1000, f"epoch {epoch}"):
        samples, targets = samples.to(device), targets.to(device)
        loss = made.forward_process(samples, targets, more)
        made.post_forward_process(loss)
        if not torch.isfinite(loss):
            raise ValueError("its loss is not finite")
        meters.update(loss=loss.item(), lr=made.optimizer.param_groups[0]["lr"])
        stamps.append(time.time())
        if player is not None:
            player.step()
    made.post_epoch_process()


@torch.inference_mode()
def accuracy(model: torch.nn.Module, loader: Any, device: torch.device) -> float:
    """Top-1 over a loader, as its example evaluates."""
    model.eval()
    right = total = 0
    for samples, targets, *_ in loader:
        logits = model(samples.to(device))
        right += int((logits.argmax(1).cpu() == targets).sum())
        total += len(targets)
    return right / total


def main(argument: str) -> None:
    """One run.

    Args:
        argument: JSON with ``folder`` and ``epochs``; ``workers`` of its loaders; ``turns`` ([fd, warm-up steps]) where
            it trains in turns; ``report``, a file that gets the time of the first step's end.
    """
    given = {"workers": 2, "turns": None, "report": None} | json.loads(argument)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    made = box(given, device)
    wait = torch.cuda.synchronize if torch.cuda.is_available() else None
    fd, warm_up = given["turns"] or (0, 0)
    player = Player(fd, warm_up, wait) if given["turns"] else None
    stamps: list[float] = []
    for epoch in range(given["epochs"]):
        train(made, epoch, device, player, stamps)
        made.student_model.eval()
        accuracy(made.student_model, made.val_data_loader, device)
        torch.save(made.student_model.state_dict(), Path(given["folder"]) / "peer.pt")
    folder, scale = Path(given["folder"]), [transforms.ToTensor(), transforms.Normalize(task.MEAN, task.STD)]
    test = Images(folder, "test", transforms.Compose(scale))
    loader = torch.utils.data.DataLoader(test, task.BATCH, num_workers=given["workers"])
    for model in (made.teacher_model, made.student_model):
        accuracy(model, loader, device)
    if given["report"]:
        Path(given["report"]).write_text(json.dumps({"steps": stamps[:20]}))


if __name__ == "__main__":
    main(sys.argv[1])
