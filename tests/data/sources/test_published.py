import functools
import gzip
import hashlib
import pickle
import shutil
import struct
import tarfile
import tracemalloc
import urllib.error

import numpy as np
import pytest
import torch
import torchvision.datasets as tv

from data_helpers import picture
from distill.data import ImageDataModule
from distill.data.sources import cifar10, cifar100, fashion_mnist, imagenet
from distill.utils.errors import UserError


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def dump(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))
    return [path.name, md5(path)]


def cifar_rows(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 3072), dtype=np.uint8)


@pytest.fixture
def small_cifar10(tmp_path, monkeypatch):
    """CIFAR-10 in its authors' format, 20 rows per file."""
    folder = tmp_path / "cifar-10-batches-py"
    names = [f"data_batch_{i}" for i in range(1, 6)]
    listed = [
        dump(folder / name, {b"data": cifar_rows(20, i), b"labels": [j % 10 for j in range(20)]})
        for i, name in enumerate([*names, "test_batch"])
    ]
    for path in folder.iterdir():  # the authors' keys are text once latin1 is read
        content = pickle.loads(path.read_bytes())
        dump(path, {key.decode(): value for key, value in content.items()})
    listed = [[name, md5(folder / name)] for name, _ in listed]
    meta = dump(folder / "batches.meta", {"label_names": [f"class {i}" for i in range(10)]})
    monkeypatch.setattr(tv.CIFAR10, "train_list", listed[:5])
    monkeypatch.setattr(tv.CIFAR10, "test_list", listed[5:])
    monkeypatch.setattr(tv.CIFAR10, "meta", {**tv.CIFAR10.meta, "md5": meta[1]})
    return tmp_path


def test_cifar10(small_cifar10):
    splits = cifar10(small_cifar10)
    assert splits.train.pixels.shape == (100, 3, 32, 32)
    assert splits.train.pixels.dtype == torch.uint8
    assert torch.equal(splits.train.pixels[20], torch.from_numpy(cifar_rows(20, 1)[0].reshape(3, 32, 32)))
    assert splits.train.labels.tolist() == [j % 10 for j in range(20)] * 5
    assert (len(splits.test), splits.val, splits.classes[3]) == (20, None, "class 3")
    data = ImageDataModule.from_options(
        functools.partial(cifar10, small_cifar10), 8, augment={"crop_padding": 4, "flip": True}
    )
    assert next(iter(data.train_dataloader())).inputs.shape == (8, 3, 32, 32)


def test_cifar_lies_as_its_authors_publish_it(small_cifar10, monkeypatch):
    pixels = cifar10(small_cifar10).train.pixels
    folder = small_cifar10 / "cifar-10-batches-py"
    assert torch.equal(cifar10(folder, download=False).train.pixels, pixels)
    archive = small_cifar10 / "archive" / tv.CIFAR10.filename
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    monkeypatch.setattr(tv.CIFAR10, "tgz_md5", md5(archive))
    folder.rename(small_cifar10 / "renamed")
    assert torch.equal(cifar10(small_cifar10 / "renamed", download=False).train.pixels, pixels)
    assert torch.equal(cifar10(archive.parent, download=False).train.pixels, pixels)  # unpacked there
    shutil.rmtree(archive.parent / folder.name)
    archive.write_bytes(b"damaged")
    with pytest.raises(UserError, match="CIFAR-10 was looked for in"):
        cifar10(archive.parent, download=False)


def test_cifar100(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-100-python"
    content = {"data": cifar_rows(200), "fine_labels": [j % 100 for j in range(200)], "coarse_labels": [0] * 200}
    monkeypatch.setattr(tv.CIFAR100, "train_list", [dump(folder / "train", content)])
    monkeypatch.setattr(tv.CIFAR100, "test_list", [dump(folder / "test", content)])
    meta = dump(folder / "meta", {"fine_label_names": [f"fine {i}" for i in range(100)]})
    monkeypatch.setattr(tv.CIFAR100, "meta", {**tv.CIFAR100.meta, "md5": meta[1]})
    splits = cifar100(tmp_path, download=False)
    assert splits.train.labels.max() == 99
    assert splits.classes[99] == "fine 99"


def write_idx(path, array):
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + array.tobytes())
    with gzip.open(f"{path}.gz", "wb") as file:
        file.write(header + array.tobytes())


def write_fashion(folder, labels):
    """The four files, plain and compressed; returns the images."""
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 28, 28), dtype=np.uint8)
    for name in ("train", "t10k"):
        write_idx(folder / f"{name}-images-idx3-ubyte", images)
        write_idx(folder / f"{name}-labels-idx1-ubyte", np.asarray(labels, np.uint8))
    return torch.from_numpy(images)[:, None]


@pytest.mark.parametrize("kind", ["", ".gz"])
@pytest.mark.parametrize("where", ["FashionMNIST/raw", ".", "data/fashion"])
def test_fashion_mnist(tmp_path, kind, where):
    labels = [i % 10 for i in range(40)]
    images = write_fashion(tmp_path / where, labels)
    for path in list((tmp_path / where).iterdir()):
        if path.name.endswith(".gz") != bool(kind):
            path.unlink()
    splits = fashion_mnist(tmp_path, download=False)
    assert torch.equal(splits.train.pixels, images)
    assert torch.equal(splits.test.pixels, images)
    assert splits.train.labels.tolist() == labels
    assert splits.classes[0] == "T-shirt/top"


def test_fashion_mnist_compressed_without_the_suffix(tmp_path):
    images = write_fashion(tmp_path, [0, 1])
    (tmp_path / "train-images-idx3-ubyte.gz").replace(tmp_path / "train-images-idx3-ubyte")
    assert torch.equal(fashion_mnist(tmp_path).train.pixels, images)


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"", lambda b: b"<" + b, lambda b: b"\x1f\x8b" + b])
def test_damaged_files_of_fashion_mnist_are_named(tmp_path, damage):
    write_fashion(tmp_path, [0, 1])
    path = tmp_path / "t10k-labels-idx1-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="t10k-labels-idx1-ubyte is damaged: .*; remove it") as caught:
        fashion_mnist(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "reason"), [((2, 28, 28), "shape"), ((2**31, 2**20, 28), "says that it holds 63050394783186944 values")]
)
def test_no_more_is_unpacked_than_a_file_says(tmp_path, shape, reason):
    write_fashion(tmp_path, [0, 1])
    header = bytes([0, 0, 8, 3]) + np.array(shape, ">u4").tobytes()
    packed = gzip.compress(header + bytes(300_000_000), 1)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(packed)
    tracemalloc.start()
    with pytest.raises(UserError, match=f"train-images-idx3-ubyte is damaged: .*{reason}"):
        fashion_mnist(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()


def test_mnists_files_are_not_fashion_mnists(tmp_path):
    write_fashion(tmp_path, [0, 1])
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((60_000, 1, 1), np.uint8))
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.resize([5, 0, 4, 1, 9, 2, 1, 3, 1, 4], 60_000).astype(np.uint8))
    with pytest.raises(UserError, match="are not Fashion-MNIST's labels: MNIST's files, for one, have the same names"):
        fashion_mnist(tmp_path)


@pytest.mark.parametrize(
    ("source", "title"), [(cifar10, "CIFAR-10"), (cifar100, "CIFAR-100"), (fashion_mnist, "Fashion-MNIST")]
)
def test_a_failed_download_is_one_line(tmp_path, monkeypatch, source, title):
    def fail(*args, **kwargs):
        raise urllib.error.URLError("no route\nto host")

    monkeypatch.setattr("urllib.request.urlopen", fail)
    with pytest.raises(UserError) as caught:
        source(tmp_path / "nothing")
    text = str(caught.value)
    assert text.startswith(f"{title} was looked for in {tmp_path / 'nothing'}, is missing or damaged")
    assert "its download failed" in text
    assert "data.root=" in text
    assert "\n" not in text
    with pytest.raises(UserError, match=r"data\.source\.download=true"):
        source(tmp_path / "nothing", download=False)


def write_imagenet(root):
    """Two classes, 20 images of each for training and 3 for validation, and torchvision's record of the devkit."""
    wnids = {"n01440764": ("tench", "Tinca tinca"), "n01443537": ("goldfish", "Carassius auratus")}
    torch.save((wnids, [list(wnids)[i % 2] for i in range(6)]), root / "meta.bin")
    for split, count in (("train", 20), ("val", 3)):
        for i, wnid in enumerate(wnids):
            (root / split / wnid).mkdir(parents=True)
            for j in range(count):
                picture(10 * i + j, (50 + j, 40)).save(root / split / wnid / f"{wnid}_{j}.JPEG")


def test_imagenet(tmp_path):
    write_imagenet(tmp_path)
    splits = imagenet(tmp_path)
    assert (len(splits.train), splits.val, len(splits.test)) == (40, None, 6)
    assert splits.classes == ["tench", "goldfish"]
    assert splits.train.labels.tolist() == [0] * 20 + [1] * 20
    data = ImageDataModule.from_options(
        functools.partial(imagenet, tmp_path),
        8,
        image_size=32,
        augment={"scale": [0.08, 1.0], "flip": True},
        num_workers=0,
    )
    assert not data.loaded.in_memory
    assert next(iter(data.train_dataloader())).inputs.shape == (8, 3, 32, 32)
    assert next(iter(data.test_dataloader())).inputs.shape == (6, 3, 32, 32)


def test_imagenet_without_its_archives(tmp_path):
    with pytest.raises(UserError, match=r"ImageNet's train set was looked for in .*data\.root=") as caught:
        imagenet(tmp_path)
    assert "\n" not in str(caught.value)


def test_imagenets_validation_images_as_their_archive_unpacks(tmp_path):
    write_imagenet(tmp_path)
    shutil.rmtree(tmp_path / "val")
    (tmp_path / "val").mkdir()
    for i in range(6):
        picture(i, (50 + i, 40)).save(tmp_path / "val" / f"ILSVRC2012_val_{i + 1:08}.JPEG")
    test = imagenet(tmp_path).test
    assert test.labels.tolist() == [0, 1] * 3
    assert [test.image(i).width for i in range(6)] == [50, 51, 52, 53, 54, 55]
    (tmp_path / "val" / "ILSVRC2012_val_00000001.JPEG").unlink()
    with pytest.raises(UserError, match="val holds 5 images without class folders, but the devkit has 6 labels"):
        imagenet(tmp_path)
