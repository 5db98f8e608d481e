"""Published data sets: scikit-learn's digits, and those torchvision reads (and fetches, where that is allowed)."""

import gzip
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distill.data.sources.folder import FileImages
from distill.data.splits import Splits
from distill.data.vision.images import TensorImages
from distill.utils.errors import UserError, one_line
from distill.utils.files import image_suffixes, list_files, open_file, subfolders

_MOST_VALUES = 2**30  # in a file of MNIST's format; Fashion-MNIST's have 47 million at most
_FIRST_FASHION_LABELS = (9, 0, 0, 3, 0, 2, 7, 2, 5, 5)  # of the training images


def digits() -> Splits:
    """1,797 digits, 8×8 in one channel, values 0..16 scaled to 0..255; val and test are carved.

    Source: Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits (UCI), as scikit-learn ships it.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels = torch.from_numpy(data.images * (255 / 16)).round().to(torch.uint8)[:, None]
    return Splits(
        TensorImages(pixels, torch.from_numpy(data.target)), classes=[str(name) for name in data.target_names]
    )


def cifar10(root: str | Path, download: bool = True) -> Splits:
    """CIFAR-10: 50,000 + 10,000 images, 32×32 RGB, 10 classes; val is carved out of train.

    Args:
        root: folder that holds ``cifar-10-python.tar.gz`` or ``cifar-10-batches-py``, or the latter itself.
        download: fetch it (170 MB) where it is missing.

    Raises:
        UserError: if the files are missing or damaged and cannot be fetched.

    Source: Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images.
    """
    from torchvision.datasets import CIFAR10

    return _cifar("CIFAR-10", CIFAR10, root, download)


def cifar100(root: str | Path, download: bool = True) -> Splits:
    """CIFAR-100: 50,000 + 10,000 images, 32×32 RGB, 100 fine classes; val is carved out of train.

    Args:
        root: folder that holds ``cifar-100-python.tar.gz`` or ``cifar-100-python``, or the latter itself.
        download: fetch it (169 MB) where it is missing.

    Raises:
        UserError: if the files are missing or damaged and cannot be fetched.

    Source: Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images.
    """
    from torchvision.datasets import CIFAR100

    return _cifar("CIFAR-100", CIFAR100, root, download)


def fashion_mnist(root: str | Path, download: bool = True) -> Splits:
    """Fashion-MNIST: 60,000 + 10,000 images, 28×28 in one channel, 10 classes; val is carved out of train.

    Args:
        root: folder that holds the four idx files, plain or as ``.gz``, or ``FashionMNIST/raw`` or ``data/fashion``
            with them.
        download: fetch it (31 MB) where it is missing.

    Raises:
        UserError: if the files are missing, damaged, or another data set's, and cannot be fetched.

    Source: Xiao, Rasul & Vollgraf 2017 (arXiv:1708.07747).
    """
    from torchvision.datasets import FashionMNIST

    files = next(
        filter(None, (_idx_files(Path(root, name)) for name in ("FashionMNIST/raw", "", "data/fashion"))), None
    )
    if files is None:
        _read("Fashion-MNIST", FashionMNIST, root, True, download)
        files = _idx_files(Path(root, "FashionMNIST/raw"))
        assert files is not None
    train, train_labels, test, test_labels = map(_idx, files)
    if len(train_labels) == 60_000 and tuple(train_labels[:10].tolist()) != _FIRST_FASHION_LABELS:
        raise UserError(f"{files[1]} are not Fashion-MNIST's labels: MNIST's files, for one, have the same names")
    return Splits(
        train=TensorImages(train[:, None], train_labels),
        test=TensorImages(test[:, None], test_labels),
        classes=FashionMNIST.classes,
    )


def imagenet(root: str | Path) -> Splits:
    """ImageNet-1k (ILSVRC 2012): the official validation set is test here; val is carved out of train.

    Args:
        root: folder that holds the archives ``ILSVRC2012_devkit_t12.tar.gz``, ``ILSVRC2012_img_train.tar`` and
            ``ILSVRC2012_img_val.tar`` (unpacked there at the first use), or what torchvision made of them; ``val``
            may be as its archive unpacks, without class folders. They cannot be downloaded without an account at
            image-net.org.

    Raises:
        UserError: if they are missing.

    Source: Russakovsky et al. 2015 (arXiv:1409.0575).
    """
    from torchvision.datasets import ImageNet
    from torchvision.datasets.imagenet import load_meta_file

    root = Path(root)
    splits: dict[str, FileImages] = {}
    data: Any = None
    for name, split in (("train", "train"), ("test", "val")):
        try:
            flat = _flat_images(root / split) if split == "val" else []
            data = data if flat else ImageNet(str(root), split=split)
        except (RuntimeError, OSError) as error:
            raise UserError(
                f"ImageNet's {split} set was looked for in {root.absolute()}: {_reason(error)}; put the "
                "archives of image-net.org there or set data.root= (class folders without the devkit: data=imagefolder)"
            ) from error
        if flat:
            wnids = load_meta_file(str(root))[1]
            if len(wnids) != len(flat):
                raise UserError(
                    f"{root.absolute() / split} holds {len(flat)} images without class folders, but the devkit has "
                    f"{len(wnids)} labels: unpack all of ILSVRC2012_img_val.tar there, or sort its images by class"
                )
            labels = torch.tensor([data.wnid_to_idx[wnid] for wnid in wnids])
            splits[name] = FileImages(root / split, flat, labels)
        else:
            folder = Path(data.split_folder)
            names = [Path(path).relative_to(folder).as_posix() for path, _ in data.samples]
            splits[name] = FileImages(folder, names, torch.tensor(data.targets))
    return Splits(**splits, classes=[names[0] for names in data.classes])


def _flat_images(folder: Path) -> list[str]:
    """Names of the images in a folder without class folders, as the archive of the validation set unpacks."""
    if not folder.is_dir() or subfolders(folder):
        return []
    return sorted(file.name for file in list_files(folder, image_suffixes()))


def _idx_files(folder: Path) -> list[Path]:
    """Those that are there of training images and labels, test images and labels, plain or compressed."""
    files: list[Path] = []
    for part in ("train", "t10k"):
        for content in ("images-idx3", "labels-idx1"):
            names = [f"{part}-{content}-ubyte{end}" for end in ("", ".gz")]
            files += [folder / name for name in names if (folder / name).is_file()][:1]
    return files


def _idx(path: Path) -> Tensor:
    """A file of whole numbers in MNIST's format: 0, 0, type (8: bytes), dimensions, the size of each, values."""
    dimensions = 3 if "idx3" in path.name else 1
    try:
        with open_file(path) as plain:
            is_packed = plain.read(2) == b"\x1f\x8b"
            plain.seek(0)
            file = gzip.GzipFile(fileobj=plain) if is_packed else plain
            if file.read(4) != bytes([0, 0, 8, dimensions]):
                raise ValueError("it does not begin as such a file does")
            shape = np.frombuffer(file.read(4 * dimensions), ">u4", dimensions).tolist()
            if (count := math.prod(shape)) > _MOST_VALUES:
                raise ValueError(f"it says that it holds {count} values")
            content = bytearray(file.read(count + 1))  # not all: few bytes can unpack to any number of them
        return torch.frombuffer(content, dtype=torch.uint8).reshape(shape)
    except (OSError, EOFError, RuntimeError, ValueError, zlib.error) as error:
        raise UserError(f"{path} is damaged: {_reason(error)}; remove it, and it can be fetched again") from error


def _cifar(title: str, dataset: Any, root: str | Path, download: bool) -> Splits:
    from torchvision.datasets.utils import check_integrity

    if (
        Path(root, dataset.train_list[0][0]).is_file() and not Path(root, dataset.base_folder).exists()
    ):  # the folder itself, whatever it is called
        dataset = type(dataset.__name__, (dataset,), {"base_folder": ""})
    is_here = check_integrity(str(Path(root, dataset.filename)), dataset.tgz_md5)  # then it is unpacked only
    train, test = (_read(title, dataset, root, train, download or is_here) for train in (True, False))
    return Splits(train=_tensor(train), test=_tensor(test), classes=list(train.classes))


def _read(title: str, dataset: Callable[..., Any], root: str | Path, train: bool, download: bool) -> Any:
    where = f"{title} was looked for in {Path(root).absolute()}"
    try:
        return dataset(str(root), train=train, download=False)
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        if not download:
            raise UserError(f"{where}: {_reason(error)}; set data.root= or data.source.download=true") from error
    try:
        return dataset(str(root), train=train, download=True)
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        raise UserError(
            f"{where}, is missing or damaged there, and its download failed: {_reason(error)}; "
            "set data.root= to a folder that has it"
        ) from error


def _reason(error: Exception) -> str:
    return one_line(error).rstrip(".")


def _tensor(data: Any) -> TensorImages:
    return TensorImages(torch.as_tensor(data.data).permute(0, 3, 1, 2).contiguous(), torch.as_tensor(data.targets))
