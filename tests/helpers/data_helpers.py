"""Small sources and real files for the tests of data."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from pyarrow import parquet as pq
from torch.utils.data import Dataset

from distill.data import Splits, TensorImages

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "cifar10"


def picture(number: int, size: tuple[int, int] = (12, 12), mode: str = "RGB") -> Image.Image:
    """A smooth picture, (width, height), that differs by number."""
    x, y = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    array = np.stack([x, y, np.full_like(x, (37 * number) % 256)], -1).astype(np.uint8)
    return Image.fromarray(array).convert(mode)


def encoded(number: int, kind: str = "PNG", **kwargs) -> bytes:
    file = io.BytesIO()
    picture(number, **kwargs).save(file, kind)
    return file.getvalue()


def write_parquet(path: Path, labels: list, names: list[str] | None = None, contents=None, image="img", label="label"):
    contents = [encoded(i) for i in range(len(labels))] if contents is None else contents
    table = pa.table(
        {
            image: pa.array(
                [None if c is None else {"bytes": c, "path": f"{i}.png"} for i, c in enumerate(contents)],
                pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
            ),
            label: labels,
        }
    )
    if names is not None:
        features = {image: {"_type": "Image"}, label: {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=7)
    return path


def write_folder(root: Path, classes=("ant", "bee"), count: int = 10, size=(12, 12), kind: str = "png") -> Path:
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(count):
            picture(100 * label + i, size).save(root / name / f"{i:03}.{kind}")
    return root


def batches(loader, epoch=0):
    loader.sampler.set_epoch(epoch)
    return list(loader)


def by_index(batches):
    return {int(i): x for batch in batches for i, x in zip(batch.index, batch.inputs, strict=True)}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[i], other[i]) for i in one)


def source(n=60, classes=3, channels=3, size=8, **kwargs):
    """A callable source of noise in memory."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8, generator=generator)
    return lambda: Splits(TensorImages(pixels, torch.arange(n) % classes), **kwargs)


class Pairs(Dataset):
    """A user's data set; ``make`` turns a number into an image."""

    def __init__(self, make, n=60):
        self.make, self.n = make, n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return self.make(i), i % 3
