"""What the commands of ``parity.py`` read: images, a Parquet file, presets, a user's Python code."""

import json
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from parity_commands import PRESETS

USER_CODE = '''
import os, signal
from pathlib import Path
import torch
from lightning.pytorch import Callback
from torch import nn
from torch.nn.functional import normalize


class Block(nn.Module):
    def __init__(self, inputs, width):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(inputs, width), nn.ReLU())

    def forward(self, x):
        return self.inner(x)


def mlp(num_classes, in_channels, image_size, width=32, **_):
    pixels = in_channels * image_size**2
    return nn.Sequential(nn.Flatten(), Block(pixels, width), Block(width, width), nn.Linear(width, num_classes))


def stripes(size):
    images = torch.randint(0, 255, (300, 3, size, size), dtype=torch.uint8, generator=torch.manual_seed(0))
    images[1::2, :, ::2] = 0
    return list(zip(images, [i % 2 for i in range(300)]))


def cosine_loss(student_embedding, teacher_embedding):
    similarity = [normalize(e) @ normalize(e).T for e in (student_embedding, teacher_embedding)]
    return (similarity[0] - similarity[1]).square().mean()


class InterruptOnce(Callback):
    """Ctrl-C after a step of the training that has so many epochs; not again when it is resumed."""

    def __init__(self, epochs, step, marker):
        self.epochs, self.step, self.marker = epochs, step, Path(marker)

    def on_train_batch_end(self, trainer, *_):
        if trainer.max_epochs == self.epochs and trainer.global_step == self.step and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGINT)
'''

# Imported by every Python of a recording: an editable install's source folder must not stand in for the checkout's.
SITE = """
import os, sys
sys.path[:] = [p for p in sys.path if os.path.basename(p) != "src" or p == os.environ["PARITY_SOURCES"]]
"""

# Writes the images of a folder per class as train.parquet, in the layout of the Hugging Face hub.
PARQUET = """
import sys, pyarrow as pa, pyarrow.parquet as pq
from pathlib import Path
files = sorted(Path(sys.argv[1]).glob("*/*.png"))
classes = sorted({f.parent.name for f in files})
rows = [{"image": {"bytes": f.read_bytes(), "path": f.name}, "label": classes.index(f.parent.name)} for f in files]
pq.write_table(pa.Table.from_pylist(rows), sys.argv[2])
"""


def png(path: Path, size: int, pixel: Callable[[int, int], Sequence[int]]) -> None:
    """Writes a square RGB image; ``pixel(x, y)`` gives three values."""
    rows = b"".join(b"\0" + bytes(v for x in range(size) for v in pixel(x, y)) for y in range(size))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def prepare(folder: Path) -> None:
    """Images, a Parquet file, presets and Python modules that the commands use."""
    noise = random.Random(0)

    def striped(kind: int) -> Callable[[int, int], list[int]]:
        def pixel(x: int, y: int) -> list[int]:
            stripe = 120 * ((x if kind % 2 else y) // (1 + kind // 2) % 2)
            return [stripe + noise.randrange(120) for _ in range(3)]

        return pixel

    for kind, name in enumerate("abcd"):
        for i in range(20):
            png(folder / "images" / name / f"{i:02}.png", 16 + i % 3, striped(kind))
            png(folder / "squares" / name / f"{i:02}.png", 16, striped(kind))
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "parquet").mkdir()
    written = folder / "parquet" / "train.parquet"
    subprocess.run([sys.executable, "-c", PARQUET, str(folder / "squares"), str(written)], check=True)
    for name, preset in PRESETS.items():
        path = folder / "conf" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        package = "# @package _global_\n" if name.startswith("experiment/") else ""
        path.write_text(f"{package}{json.dumps(preset)}\n")
    (folder / "python").mkdir()
    (folder / "python" / "user_code.py").write_text(USER_CODE)
    (folder / "python" / "sitecustomize.py").write_text(SITE)
