"""Image and mask have one view, whatever is done to them."""

import numpy as np
import pytest
import torch
from PIL import Image

from distill.data import ImageDataModule
from distill.data.sources import masks
from distill.data.vision.masked import letterbox, unboxed
from distill.utils.errors import UserError


def write(root, sizes, scale=20):
    """Images whose red is their mask's value times a scale, so that any difference in their views is seen."""
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i, (width, height) in enumerate(sizes):
        mask = np.kron(rng.integers(0, 5, (-(-height // 4), -(-width // 4))), np.ones((4, 4), int))[:height, :width]
        red = (mask * scale + 40).astype(np.uint8)
        Image.fromarray(np.stack([red] * 3, -1)).save(root / "images" / f"{i}.png")
        Image.fromarray(mask.astype(np.uint8)).save(root / "masks" / f"{i}.png")
    return root


def module(root, **options):
    settings = {"batch_size": 4, "mean": [0.0] * 3, "std": [1.0] * 3, "targets": "masks", "split_seed": 1} | options
    return ImageDataModule.from_options(lambda: masks(root), **settings)


def agree(batch):
    """Whether every pixel with a class has its colour, and every other is black."""
    red = (batch.inputs[:, 0] * 255).round().long()
    ignored = batch.target == 255
    assert bool(ignored.any()) or bool((red > 0).all())
    assert red[ignored].unique().tolist() in ([], [0])
    assert torch.equal(red[~ignored], batch.target[~ignored].long() * 20 + 40)
    return ignored


@pytest.mark.parametrize("memory", [True, False])
def test_crop_flip_and_cutout_are_shared(tmp_path, memory):
    augment = {"crop_padding": 4, "flip": True, "cutout": 5}
    data = module(write(tmp_path, [(16, 16)] * 20), in_memory=memory, augment=augment, num_workers=0)
    data.setup()
    loader = data.train_dataloader()
    batches = list(loader)
    assert sum(int(agree(batch).sum()) for batch in batches) > 0
    again = module(tmp_path, in_memory=not memory, augment=augment, num_workers=0)
    for one, other in zip(batches, again.train_dataloader(), strict=True):
        assert torch.equal(one.target, other.target), "a function of (seed, epoch, index), wherever it is decoded"
        assert torch.equal(one.inputs, other.inputs)
    assert batches[0].target.dtype == torch.uint8
    for batch in data.val_dataloader():
        assert not bool(agree(batch).any())


def test_odd_sizes_are_padded_to_a_square(tmp_path):
    data = module(write(tmp_path, [(16, 10), (12, 16), (9, 9)] * 6), image_size=16, num_workers=0)
    data.setup()
    assert data.preprocess.pad
    assert data.example(2).shape == (2, 3, 16, 16)
    ignored = torch.cat([agree(batch).flatten(1).sum(1) for batch in data.test_dataloader()])
    assert set(ignored.tolist()) <= {16 * 6, 16 * 4, 256 - 81}


def test_a_random_resized_crop_takes_the_nearest_value_of_masks(tmp_path):
    data = module(
        write(tmp_path, [(16, 12)] * 20), image_size=8, num_workers=0, augment={"scale": [0.2, 1.0], "flip": True}
    )
    data.setup()
    (batch, *_) = list(data.train_dataloader())
    red = (batch.inputs[:, 0] * 255).round() - 40
    assert set(batch.target.unique().tolist()) <= {*range(5)}
    assert float((red - batch.target.float() * 20).abs().median()) <= 10, "the image is interpolated, the mask is not"


def test_images_in_files_have_the_median_of_their_longer_sides(tmp_path):
    data = module(write(tmp_path, [(16, 10), (32, 8), (20, 20)] * 6), largest=lambda _: 64)
    data.setup()
    assert data.image_size == 20


def test_a_transform_must_take_both(tmp_path):
    data = module(write(tmp_path, [(8, 8)] * 20), image_size=8, num_workers=0, transform=lambda image: image)
    with pytest.raises(UserError, match="must take an image and its mask, and return both"):
        list(data.train_dataloader())


def test_masks_need_a_task_of_masks(tmp_path):
    with pytest.raises(UserError, match="a class per pixel, and the task needs one class per sample: set task=segment"):
        module(write(tmp_path, [(8, 8)] * 20), targets="classes").setup()


@pytest.mark.parametrize(
    ("size", "expected"), [((10, 6), (10, 6)), ((13, 9), (13, 9)), ((40, 20), (16, 8)), ((20, 41), (8, 16))]
)
def test_a_letterbox_is_undone(size, expected):
    width, height = size
    image = Image.new("L", size, 9)
    boxed = letterbox(image, 16, nearest=True)
    assert boxed.size == (16, 16)
    assert int((np.asarray(boxed) == 9).sum()) == expected[0] * expected[1]
    back = unboxed(torch.from_numpy(np.asarray(boxed).copy()), height, width)
    assert tuple(back.shape) == (height, width)
    assert bool((back == 9).all())
