"""Composes a labelled segmentation set of real data: handwritten digits on photographs, with exact masks.

    python -m tools.compose_masks <folder> [--images 400] [--size 32] [--classes 10] [--seed 0]

Digits are those of scikit-learn (UCI), backgrounds are cut from the two photographs that scikit-learn brings along:
nothing is downloaded. Class 0 is the background, class d + 1 the digit d. A digit's ink is blended into the photograph
by its darkness; a pixel has the digit's class where at least half of it is ink, and none (255) where there is less. No
digit and no part of a photograph is in two splits. Written are ``<split>/images/*.png`` and ``<split>/masks/*.png``
(palette) for train, val and test (4 : 1 : 1). The same arguments give the same files.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from distill.utils.palette import PALETTE

IGNORED = 255
BOUNDS = {"images": (6, 10**6), "size": (8, 106), "classes": (1, 10), "seed": (0, 2**32)}  # a strip is 106 pixels wide
SHARES = {"train": (0.0, 4 / 6), "val": (4 / 6, 5 / 6), "test": (5 / 6, 1.0)}  # of digits, photographs and images


def _photographs(begin: float, end: float) -> list[np.ndarray]:
    """A vertical strip of each photograph, (H, W, 3)."""
    return [photo[:, int(begin * photo.shape[1]) : int(end * photo.shape[1])] for photo in load_sample_images().images]


def _digit(ink: np.ndarray, side: int) -> np.ndarray:
    """A digit (8, 8), 0..16, as its ink in a square of ``side`` pixels, 0..1."""
    image = Image.fromarray((ink * 255 / 16).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(image, np.float32) / 255


def compose(
    inks: np.ndarray, labels: np.ndarray, photographs: list[np.ndarray], size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One image (size, size, 3) with one to three digits, and its mask (size, size), both uint8."""
    photo = photographs[rng.integers(len(photographs))]
    top, left = (rng.integers(length - size + 1) for length in photo.shape[:2])
    image = photo[top : top + size, left : left + size].astype(np.float32)
    mask = np.zeros((size, size), np.uint8)
    for _ in range(rng.integers(1, 4)):
        side = int(rng.integers(size * 3 // 8, size * 5 // 8 + 1))
        chosen, colour = rng.integers(len(inks)), rng.integers(0, 256, 3)
        ink = _digit(inks[chosen], side)
        row, column = (int(rng.integers(size - side + 1)) for _ in range(2))
        place = (slice(row, row + side), slice(column, column + side))
        image[place] += (colour - image[place]) * ink[..., None]
        mask[place] = np.where(ink >= 0.5, labels[chosen] + 1, np.where(ink >= 0.25, IGNORED, mask[place]))
    return image.round().astype(np.uint8), mask


def write(folder: Path, images: int = 400, size: int = 32, classes: int = 10, seed: int = 0) -> None:
    """Write the set; ``classes``: the digits from 0 that are used, 1 to 10."""
    digits = load_digits()
    known = digits.target < classes
    inks, labels = digits.images[known], digits.target[known]
    for number, (split, (begin, end)) in enumerate(SHARES.items()):
        rng = np.random.default_rng([seed, number])
        part = slice(int(begin * len(inks)), int(end * len(inks)))
        photographs = _photographs(begin, end)
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True, exist_ok=True)
        for i in range(round((end - begin) * images)):
            image, mask = compose(inks[part], labels[part], photographs, size, rng)
            Image.fromarray(image).save(folder / split / "images" / f"{i:04d}.png")
            picture = Image.fromarray(mask, mode="P")
            picture.putpalette(PALETTE)
            picture.save(folder / split / "masks" / f"{i:04d}.png")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for name, default in (("images", 400), ("size", 32), ("classes", 10), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = vars(parser.parse_args())
    for name, (least, most) in BOUNDS.items():
        if not least <= arguments[name] <= most:
            parser.error(f"--{name} must be in {least}..{most}, got {arguments[name]}")
    write(**arguments)


if __name__ == "__main__":
    main()
