"""What all sides of the benchmark learn: the same images, the same frozen teacher, the same student.

Nothing heavy is imported here: the peer's process has no more in memory than the peer needs.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

TEACHER, STUDENT = "resnet32x4", "resnet8x4"
CLASSES = 10
BATCH = 64
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # CIFAR-10's
T, ALPHA = 4.0, 0.1
LR, MOMENTUM, DECAY = 0.05, 0.9, 5e-4
IMAGES, WEIGHTS = "images.safetensors", "teacher.safetensors"


def synthetic(n: int, size: int = 32, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random images (n, 3, size, size), uint8, and labels (n,), every class alike often."""
    generator = torch.Generator().manual_seed(seed)
    words = -(-n * 3 * size * size // 8)  # eight pixels each: a million images are a matter of seconds
    drawn = torch.empty(words, dtype=torch.int64).random_(-(2**63), None, generator=generator).view(torch.uint8)
    return drawn[: n * 3 * size * size].view(n, 3, size, size), torch.arange(n) % CLASSES


def model(name: str) -> torch.nn.Module:
    """One of the zoo's ResNets, by name."""
    from distill.models.vision import resnet

    made: torch.nn.Module = getattr(resnet, name)(num_classes=CLASSES, in_channels=3)
    return made


def teacher(folder: Path) -> torch.nn.Module:
    """The teacher with the weights that ``prepare`` left."""
    made = model(TEACHER)
    made.load_state_dict(load_file(folder / WEIGHTS))
    return made


def prepare(folder: Path, splits: dict[str, tuple[Tensor, Tensor]]) -> None:
    """Writes the images of all splits and the weights of a teacher.

    The teacher is not trained: what it answers takes as long, whatever it is.

    Args:
        folder: where to.
        splits: pixels (N, C, H, W), uint8, and labels (N,) of "train", "val" and "test".
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    for name, (pixels, labels) in splits.items():
        tensors |= {f"{name}.pixels": pixels.contiguous(), f"{name}.labels": labels}
    save_file(tensors, folder / IMAGES)
    torch.manual_seed(0)
    save_file(model(TEACHER).state_dict(), folder / WEIGHTS)


def read(folder: Path, split: str) -> tuple[Tensor, Tensor]:
    """Pixels and labels of one split."""
    from safetensors import safe_open

    with safe_open(folder / IMAGES, "pt") as file:
        return file.get_tensor(f"{split}.pixels"), file.get_tensor(f"{split}.labels")


def images(folder: str) -> Any:
    """``data.source`` of our side: the splits that ``prepare`` wrote."""
    from distill.data.splits import Splits
    from distill.data.vision.images import TensorImages

    train, val, test = (TensorImages(*read(Path(folder), name)) for name in ("train", "val", "test"))
    return Splits(train, val, test)


def sized(n: int, size: int) -> Any:
    """``data.source`` of the tables of cost against size: ``n`` training images, made up, and a few for the rest."""
    from distill.data.splits import Splits
    from distill.data.vision.images import TensorImages

    train, val, test = (TensorImages(*synthetic(count, size, seed)) for seed, count in enumerate((n, 64, 64)))
    return Splits(train, val, test)
