from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import memory
from data_helpers import Pairs, by_index, picture
from distill.data import ImageDataModule, Splits, TensorImages
from distill.data.vision import map_style
from distill.data.vision.pixels import digest
from distill.utils.errors import UserError


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda i: picture(i), (3, 12, 12)),
        (lambda i: picture(i, mode="L"), (1, 12, 12)),
        (lambda i: torch.full((4, 5, 5), i, dtype=torch.uint8), (4, 5, 5)),
        (lambda i: np.full((6, 5, 3), i, np.uint8), (3, 6, 5)),
        (lambda i: np.full((6, 6), i, np.uint8), (1, 6, 6)),
        (lambda i: torch.full((2, 5, 5), i / 60), (2, 5, 5)),
        (lambda i: np.full((2, 5, 5), i / 60), (2, 5, 5)),
        (lambda i: np.full((6, 5, 4), i, np.uint8), (4, 6, 5)),
        (lambda i: np.full((6, 5, 3), i / 60), (3, 6, 5)),
        (lambda i: np.full((6, 5, 3), i / 60, np.float16), (3, 6, 5)),
        (lambda i: torch.full((6, 6, 3), i / 60), (3, 6, 6)),
        (lambda i: np.full((6, 6, 1), i, np.int64), (1, 6, 6)),
        (lambda i: torch.full((3, 6, 6), i, dtype=torch.int32), (3, 6, 6)),
    ],
)
def test_a_users_dataset(make, shape):
    data = ImageDataModule.from_options(lambda: Pairs(make), 6)
    assert data.example().shape == (2, *shape)
    assert data.num_classes == 3
    first = by_index(data.test_dataloader())
    files = ImageDataModule.from_options(
        lambda: Pairs(make), 6, in_memory=False, mean=[0.0] * shape[0], std=[1.0] * shape[0]
    )
    for i, inputs in by_index(files.test_dataloader()).items():
        pixels = make(i) if not isinstance(make(i), np.ndarray) else make(i).astype(np.float32)
        image = np.asarray(pixels).astype(np.float64) / (
            255 if data.loaded.splits["train"].pixels.dtype == torch.uint8 else 1
        )
        image = image[None] if image.ndim == 2 else image
        image = image.transpose(2, 0, 1) if image.shape != shape else image
        np.testing.assert_allclose(inputs, image, atol=1e-6)
        assert i in first


def test_whole_numbers_of_any_type_are_as_bright_as_they_say():
    def pixels(values, dtype, shape=(4, 5)):
        images = map_style.DatasetImages(Pairs(lambda i: np.full(shape, values[i], dtype), 3))
        return [int(images.image(row).flatten()[0]) for row in range(3)]

    assert pixels([0, 100, 255], np.int32) == [0, 100, 255]
    assert pixels([512, 25_600, 65_535], np.uint16) == pixels([512, 25_600, 65_535], np.int64) == [2, 100, 255]
    assert pixels([0, 1, 1], np.bool_) == [0, 255, 255]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda i: np.full((4, 5), i - 90, np.int16),
            r"image \d+ of Pairs .*: its values reach from -\d+ to",
        ),
        (lambda i: np.full((4, 5), 4 * i, np.uint16), "16 bits, but no image seems to use more than 8 of them"),
        (lambda i: np.full((4, 5), 999 if i % 2 else 99, np.int32), "image .* reach from 0 to 99; all images must"),
        (lambda i: np.full((4, 5), 2**20, np.int32), "reach from 0 to 1.04858e\\+06"),
        (lambda i: np.full((16, 4, 4), i, np.uint8), "16×4×4 may be C×H×W or H×W×C"),
        (lambda i: np.full((10, 64, 48), i, np.uint8), "10×64×48 may be"),
        (lambda i: torch.full((20, 16, 3), i), "20×16×3 may be"),
        (lambda i: np.full((4, 5), np.nan if i == 41 else 0.5), "image 41 of Pairs cannot be read: it has NaN"),
        (lambda i: torch.full((4, 5), torch.inf if i == 41 else 0.5), "image 41 of Pairs cannot be read: it has NaN"),
        (
            lambda i: np.full((4, 5), i / 60 if i else 0, float if i else np.uint8),
            "some images are floats and",
        ),
        (lambda i: np.full((4, 5), "a"), "its values must be numbers, got <U1"),
    ],
)
@pytest.mark.parametrize("memory", [True, False])
def test_images_that_are_not_understood(make, message, memory):
    with pytest.raises(UserError, match=message) as caught:
        data = ImageDataModule.from_options(
            lambda: Pairs(make), 60, in_memory=memory, num_workers=0, mean=[0.5], std=[0.5], val_fraction=0.1
        )
        data.setup()
        data.example(48)
    assert "\n" not in str(caught.value)


def test_tensors_in_memory():
    with pytest.raises(UserError, match=r"test image 2 has NaN"):
        pixels, labels = torch.rand(40, 1, 4, 4), torch.arange(40) % 2
        test = torch.where(torch.arange(40)[:, None, None, None] == 2, torch.nan, pixels)
        splits = Splits(TensorImages(pixels, labels), test=TensorImages(test, labels))
        ImageDataModule.from_options(lambda: splits, 2).setup()
    with pytest.raises(UserError, match="must be a uint8 or float tensor, got torch.int32"):
        TensorImages(torch.zeros(2, 1, 4, 4, dtype=torch.int32), torch.tensor([0, 1]))


def test_labels_come_from_targets_only_where_they_agree():
    dataset = Pairs(picture)
    dataset.targets = [9] * 60
    assert ImageDataModule.from_options(lambda: dataset, 6).num_classes == 3
    dataset.targets = [0, *([1] * 58), 2]  # the first and the last agree
    assert map_style.DatasetImages(dataset).labels.tolist() == [i % 3 for i in range(60)]
    dataset.targets = [i % 3 for i in range(60)]
    dataset.__class__ = type("Same", (Pairs,), {})
    assert ImageDataModule.from_options(lambda: dataset, 6).num_classes == 3


@pytest.mark.parametrize("memory", [True, False])
def test_a_single_target_that_does_not_agree_is_named(memory):
    dataset = Pairs(picture, 600)
    dataset.targets = [i % 3 for i in range(600)]
    dataset.targets[301] = 0
    with pytest.raises(UserError, match="the label of image 301 of Pairs is 1, and 0 in the dataset's list of labels"):
        ImageDataModule.from_options(lambda: dataset, 6, in_memory=memory).setup()


class Mappings(Pairs):
    def __init__(self, image, label):
        super().__init__(picture)
        self.keys = image, label

    def __getitem__(self, i):
        return {"id": i, self.keys[0]: picture(i), self.keys[1]: i % 3}


@pytest.mark.parametrize(
    "keys", [("image", "label"), ("img", "target"), ("Image", "Label"), ("pixel_values", "labels")]
)
def test_a_dataset_of_mappings(keys):
    images = map_style.DatasetImages(Mappings(*keys))
    assert images.labels.tolist() == [i % 3 for i in range(60)]
    np.testing.assert_array_equal(np.asarray(images.image(7)), np.asarray(picture(7)))


def test_a_dataset_of_something_else():
    with pytest.raises(UserError, match=r"none of its keys \(id, photo, label\) is usual for the image: name it"):
        map_style.DatasetImages(Mappings("photo", "label"))
    with pytest.raises(UserError, match=r"none of its keys \(id, image, kind\) is usual for the label"):
        map_style.DatasetImages(Mappings("image", "kind"))
    with pytest.raises(UserError, match=r"image 0 of list must be a pair \(image, label\) or a mapping"):
        map_style.DatasetImages([3, 4])


def test_looking_at_images_in_memory_copies_few_of_them():
    pixels = torch.empty(60_000, 3, 64, 64, dtype=torch.uint8)  # 740 MB, touched nowhere: all one page of zeros
    images = TensorImages(pixels, torch.zeros(len(pixels)))
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of what ran before
    before = memory.peak()
    whole = images.identity(torch.arange(len(pixels)))
    assert memory.peak() - before < 400e6
    assert whole != images.identity(torch.arange(len(pixels) - 1))
    few = TensorImages(torch.arange(48, dtype=torch.uint8).view(4, 3, 2, 2), torch.zeros(4))
    assert few.identity(torch.tensor([2, 0])) == digest(few.pixels[[2, 0]])


def test_a_datasets_identity_is_of_all_images():
    def images(other, checked=0):
        pixels = torch.zeros(600, 1, 2, 2, dtype=torch.uint8)
        pixels[other] = 1
        dataset = map_style.as_image_set([(image, number % 3) for number, image in enumerate(pixels)])
        for row in range(checked):
            assert dataset.check(row) == (2, 2)
        return dataset.identity(torch.arange(600))

    assert images(1) == images(1, checked=300) == images(1, checked=600)
    assert len({images(1), images(2), images(599), images(2, checked=600)}) == 3


def test_images_that_cannot_be_read_count_in_the_identity():
    class Broken(Pairs):
        def __getitem__(self, i):
            if i in self.broken:
                raise OSError("cut short")
            return super().__getitem__(i)

    def identity(*broken):
        dataset = Broken(picture)
        dataset.broken = ()
        images = map_style.DatasetImages(dataset)
        dataset.broken = broken
        return images.identity(torch.arange(60))

    assert identity(5) == identity(5)
    assert len({identity(), identity(5), identity(6)}) == 3


@pytest.mark.parametrize("memory", [True, False])
def test_a_tensor_with_nan_is_named_wherever_it_stays(memory):
    pixels = torch.rand(40, 1, 4, 4)
    pixels[7, 0, 1, 1] = torch.inf
    images = TensorImages(pixels, torch.arange(40) % 2)
    data = ImageDataModule.from_options(lambda: images, 4, in_memory=memory, mean=[0.5], std=[0.5])
    with pytest.raises(UserError, match=r"image 7 has NaN"):
        data.setup()


def test_labels_that_are_no_numbers_are_named():
    pairs_of = [(picture(i), label) for i, label in enumerate([True, False, True])]
    assert map_style.as_image_set(pairs_of).labels.tolist() == [1, 0, 1]
    with pytest.raises(UserError, match="must be integers, one per image, got None for image 2"):
        map_style.as_image_set([*pairs_of[:2], (picture(2), None)])
