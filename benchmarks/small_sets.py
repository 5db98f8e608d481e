"""Small image folders, real and composed, on which the defaults must hold: ``python -m benchmarks.small_sets``.

python -m benchmarks.small_sets cifar10=<folder with parquet> fashion=<folder with idx files> out=<folder>
"""

import gzip
import io
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

Picture = Image.Image
Pool = dict[str, list[Picture]]  # class -> its images, in a fixed random order


def digits() -> Pool:
    """Scikit-learn's handwritten digits, 8 × 8 pixels, grey."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = (np.asarray(data.images) * 255 / 16).astype("uint8")
    return _pool(zip((Image.fromarray(image) for image in images), map(str, data.target), strict=True))


def cifar10(folder: Path) -> Pool:
    """CIFAR-10's first 20,000 training images from parquet files, 32 × 32 pixels, RGB."""
    import pyarrow.parquet as pq

    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    file = next(iter(sorted(folder.rglob("*train*.parquet"))))
    table = pq.read_table(file).slice(0, 20_000).to_pydict()
    image, label = (next(c for c in table if c in names_) for names_ in (("img", "image"), ("label", "labels")))
    pairs = zip(table[image], table[label], strict=True)
    return _pool((Image.open(io.BytesIO(each["bytes"])).convert("RGB"), names[number]) for each, number in pairs)


def fashion(folder: Path) -> Pool:
    """Fashion-MNIST's test images from its idx files, 28 × 28 pixels, grey."""

    def read(name: str, offset: int) -> np.ndarray:
        path = next(folder.glob(f"{name}*"))
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return np.frombuffer(content, "uint8", offset=offset)

    images, labels = read("t10k-images", 16).reshape(-1, 28, 28), read("t10k-labels", 8)
    return _pool((Image.fromarray(image), f"item{label}") for image, label in zip(images, labels, strict=True))


def _pool(pairs: Iterator[tuple[Picture, str]]) -> Pool:
    pool: Pool = {}
    for image, label in pairs:
        pool.setdefault(label, []).append(image)
    for name in sorted(pool):
        random.Random(name).shuffle(pool[name])
    return pool


def _write(folder: Path, pool: Pool, train: dict[str, int], test: int, change: Callable[..., Picture] | None) -> None:
    chance = random.Random(0)
    for name, count in train.items():
        images = pool[name][: count + test]
        for number, image in enumerate(images):
            split = "train" if number < count else "test"
            path = folder / split / name / f"{number:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            (change(image, chance) if change else image).save(path)


def _photo(image: Picture, chance: random.Random) -> Picture:
    sides = chance.randint(160, 224), chance.randint(160, 224)
    return image.resize(sides, Image.Resampling.BICUBIC)


def write_all(cifar_folder: Path, fashion_folder: Path, out: Path) -> list[Path]:
    """Writes the sets, a folder each, with ``train`` and ``test``."""
    small, clothes, objects = digits(), fashion(fashion_folder), cifar10(cifar_folder)
    four, five = ("airplane", "frog", "horse", "ship"), ("automobile", "bird", "deer", "frog", "ship")
    turned = {f"turned-{name}": [image.rotate(90) for image in images] for name, images in clothes.items()}
    fallen = {f"fallen-{name}": [image.rotate(180) for image in objects[name]] for name in five}
    everything = {**small, **clothes, **objects, **turned, **fallen}
    sets = {
        "digits-40": (small, {"3": 20, "8": 20}, 150, None),
        "digits-1200": (small, dict.fromkeys(sorted(small), 120), 50, None),
        "clothes-600": (clothes, dict.fromkeys(sorted(clothes), 60), 200, None),
        "objects-300": (objects, dict.fromkeys(four, 75), 500, None),
        "objects-5000": (objects, dict.fromkeys(sorted(objects), 500), 200, None),
        "objects-1to20": (objects, dict(zip(five, (400, 190, 90, 42, 20), strict=True)), 400, None),
        "photos-400": (objects, dict.fromkeys(five, 80), 200, _photo),
        "everything-1800": (everything, dict.fromkeys(sorted(everything), 40), 40, None),
    }
    for name, (pool, train, test, change) in sets.items():
        _write(out / name, pool, train, test, change)
    return [out / name for name in sets]


if __name__ == "__main__":
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    for folder in write_all(Path(given["cifar10"]), Path(given["fashion"]), Path(given["out"])):
        print(folder, sum(1 for _ in folder.rglob("*.png")))
