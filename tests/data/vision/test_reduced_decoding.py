"""JPEGs decoded no larger than a crop needs them."""

import functools
import io

import numpy as np
import pytest
from PIL import Image

from data_helpers import picture, write_folder
from distill.data import FileAugment, ImageDataModule
from distill.data.sources import image_folder
from distill.data.vision.images import EncodedImages


class One(EncodedImages):
    channels = 3

    def __init__(self, kind, size):
        file = io.BytesIO()
        picture(1, size).save(file, kind)
        self.content = file.getvalue()

    def open(self, row):
        return io.BytesIO(self.content)

    def identity(self, rows):
        return b""


@pytest.mark.parametrize(
    ("size", "at_least", "expected"),
    [
        ((640, 480), 200, (320, 240)),
        ((640, 480), 60, (80, 60)),
        ((640, 480), 241, (640, 480)),
        ((100, 80), 200, (100, 80)),
    ],
)
def test_the_smallest_of_a_jpegs_sizes_that_is_enough(size, at_least, expected):
    images = One("JPEG", size)
    assert images.reduced(0, at_least).size == expected
    assert images.image(0).size == size
    whole = np.asarray(images.image(0).resize(expected, Image.Resampling.BOX)).astype(float)
    assert np.abs(whole - np.asarray(images.reduced(0, at_least)).astype(float)).mean() < 2


def test_a_png_is_decoded_whole():
    assert One("PNG", (640, 480)).reduced(0, 60).size == (640, 480)


def test_no_crop_is_enlarged_for_it():
    """The smallest crop has low · W · H pixels and an aspect ratio of 3/4; its shorter side must suffice."""
    augment = FileAugment(32, (0.25, 1.0))
    side = augment.at_least
    assert np.sqrt(0.25 * side * side * 3 / 4) >= 32 > np.sqrt(0.25 * (side - 1) ** 2 * 3 / 4)


def test_training_reads_small_and_evaluation_reads_whole(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "train", count=6, size=(300, 300), kind="jpg")
    sizes = {"reduced": [], "image": []}
    for name, seen in sizes.items():
        original = getattr(EncodedImages, name)
        monkeypatch.setattr(
            EncodedImages, name, lambda self, *a, f=original, s=seen: s.append((i := f(self, *a)).size) or i
        )
    data = ImageDataModule.from_options(
        functools.partial(image_folder, folder.parent), 4, image_size=16, num_workers=0, val_fraction=0.25,
        test_fraction=0.25, augment={"scale": [0.3, 1.0]},
    )  # fmt: skip
    assert len(list(data.train_dataloader()))
    assert set(sizes["reduced"]) == {(38, 38)}
    sizes["image"].clear()
    assert len(list(data.val_dataloader()))
    assert set(sizes["image"]) == {(300, 300)}
