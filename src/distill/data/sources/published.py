"""Published data sets in their authors' formats, read (and fetched, where that is allowed) by torchvision."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distill.data.sources.folder import FileImages
from distill.data.splits import Splits
from distill.data.vision.images import TensorImages
from distill.utils.errors import UserError


def cifar10(root: str | Path, download: bool = True) -> Splits:
    """CIFAR-10: 50,000 + 10,000 images, 32×32 RGB, 10 classes; val is carved out of train.

    Args:
        root: folder that holds ``cifar-10-batches-py``.
        download: fetch it (170 MB) where it is missing.

    Raises:
        UserError: if the files are missing or damaged and cannot be fetched.

    Source: Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images.
    """
    from torchvision.datasets import CIFAR10

    return _small("CIFAR-10", CIFAR10, root, download)


def cifar100(root: str | Path, download: bool = True) -> Splits:
    """CIFAR-100: 50,000 + 10,000 images, 32×32 RGB, 100 fine classes; val is carved out of train.

    Args:
        root: folder that holds ``cifar-100-python``.
        download: fetch it (169 MB) where it is missing.

    Raises:
        UserError: if the files are missing or damaged and cannot be fetched.

    Source: Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images.
    """
    from torchvision.datasets import CIFAR100

    return _small("CIFAR-100", CIFAR100, root, download)


def fashion_mnist(root: str | Path, download: bool = True) -> Splits:
    """Fashion-MNIST: 60,000 + 10,000 images, 28×28 in one channel, 10 classes; val is carved out of train.

    Args:
        root: folder that holds ``FashionMNIST/raw``.
        download: fetch it (31 MB) where it is missing.

    Raises:
        UserError: if the files are missing or damaged and cannot be fetched.

    Source: Xiao, Rasul & Vollgraf 2017 (arXiv:1708.07747).
    """
    from torchvision.datasets import FashionMNIST

    return _small("Fashion-MNIST", FashionMNIST, root, download)


def imagenet(root: str | Path) -> Splits:
    """ImageNet-1k (ILSVRC 2012): the official validation set is test here; val is carved out of train.

    Args:
        root: folder that holds the archives ``ILSVRC2012_devkit_t12.tar.gz``, ``ILSVRC2012_img_train.tar`` and
            ``ILSVRC2012_img_val.tar`` (unpacked there at the first use), or what torchvision made of them. They
            cannot be downloaded without an account at image-net.org.

    Raises:
        UserError: if they are missing.

    Source: Russakovsky et al. 2015 (arXiv:1409.0575).
    """
    from torchvision.datasets import ImageNet

    read: dict[str, FileImages] = {}
    for name, split in (("train", "train"), ("test", "val")):
        try:
            data = ImageNet(str(root), split=split)
        except (RuntimeError, OSError) as error:
            raise UserError(
                f"ImageNet's {split} set was looked for in {Path(root).absolute()}: {_line(error)}; put the "
                "archives of image-net.org there or set data.root= (class folders without the devkit: data=imagefolder)"
            ) from error
        folder = Path(data.split_folder)
        names = [Path(path).relative_to(folder).as_posix() for path, _ in data.samples]
        read[name] = FileImages(folder, names, torch.tensor(data.targets))
    return Splits(**read, classes=[names[0] for names in data.classes])


def _small(title: str, dataset: Callable[..., Any], root: str | Path, download: bool) -> Splits:
    train, test = (_get(title, dataset, root, part, download) for part in (True, False))
    return Splits(train=_tensor(train), test=_tensor(test), classes=list(train.classes))


def _get(title: str, dataset: Callable[..., Any], root: str | Path, train: bool, download: bool) -> Any:
    where = f"{title} was looked for in {Path(root).absolute()}"
    try:
        return dataset(str(root), train=train, download=False)
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        if not download:
            raise UserError(f"{where}: {_line(error)}; set data.root= or data.source.download=true") from error
    try:
        return dataset(str(root), train=train, download=True)
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        raise UserError(
            f"{where}, is missing or damaged there, and its download failed: {_line(error)}; "
            "set data.root= to a folder that has it"
        ) from error


def _line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__).rstrip(".")


def _tensor(data: Any) -> TensorImages:
    pixels: Tensor = torch.as_tensor(data.data)
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2).contiguous()
    labels: Sequence[int] | Tensor = data.targets
    return TensorImages(pixels, torch.as_tensor(labels))
