import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from data_helpers import picture
from distill.data import Augment, FileAugment, uniform
from distill.data.vision.augment import fit
from distill.data.vision.pixels import to_tensor
from distill.utils.errors import UserError


def reference(image, u, padding, flip, cutout):
    """One image, pixel by pixel."""
    height, width = image.shape[1:]
    top, left = (int(u[i] * (2 * padding + 1)) - padding for i in (0, 1))
    mirrored = flip and u[2] < 0.5
    centre = int(u[3] * height), int(u[4] * width)
    out = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            source_x = (width - 1 - x if mirrored else x) + left
            source_y = y + top
            if 0 <= source_y < height and 0 <= source_x < width:
                out[:, y, x] = image[:, source_y, source_x]
            first = centre[0] - cutout // 2, centre[1] - cutout // 2
            if first[0] <= y < first[0] + cutout and first[1] <= x < first[1] + cutout:
                out[:, y, x] = 0
    return out


@pytest.mark.parametrize(
    ("padding", "flip", "cutout"), [(0, False, 0), (2, False, 0), (0, True, 0), (0, False, 3), (3, True, 4)]
)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_against_one_image_at_a_time(padding, flip, cutout, dtype):
    images = torch.randint(1, 255, (40, 3, 6, 9), dtype=torch.uint8).to(dtype)
    before = images.clone()
    u = uniform(0, 0, torch.arange(40), 5)
    views = Augment(padding, flip, cutout)(images, u)
    assert views.dtype == dtype
    assert torch.equal(images, before)
    for image, numbers, result in zip(images.numpy(), u.tolist(), views.numpy(), strict=True):
        np.testing.assert_array_equal(result, reference(image, numbers, padding, flip, cutout))


def test_every_crop_and_both_sides_come_up():
    image = torch.arange(25, dtype=torch.uint8).reshape(1, 1, 5, 5) + 1
    u = uniform(0, 0, torch.arange(2000), 5)
    views = Augment(1, True)(image.expand(2000, -1, -1, -1), u)
    kinds, counts = torch.unique(views.flatten(1), dim=0, return_counts=True)
    assert len(kinds) == 18
    assert counts.min() > 60


@pytest.mark.parametrize("size", [(40, 30), (30, 41), (64, 64), (17, 90)])
@pytest.mark.parametrize(("target", "shorter"), [(24, None), (28, 32), (48, 55)])
def test_fit_is_torchvisions_resize_and_centre_crop(size, target, shorter):
    image = picture(3, size)
    expected = v2.Compose([v2.Resize(shorter or target, antialias=True), v2.CenterCrop(target)])(image)
    views = fit(image, target, shorter)
    np.testing.assert_array_equal(np.asarray(views), np.asarray(expected))
    tensor = fit(to_tensor(image), target, shorter)
    assert tensor.dtype == torch.uint8
    assert (tensor.int() - to_tensor(expected).int()).abs().max() <= 2
    floats = fit(to_tensor(image).float() / 255, target, shorter)
    assert torch.allclose(floats * 255, tensor.float(), atol=1)


@pytest.mark.parametrize("shape", [(1, 1_000_000), (1_000_000, 1)])
def test_of_a_line_only_the_middle_is_resized(shape):  # else to 224 × 224,000,000 pixels
    assert to_tensor(fit(torch.zeros(3, *shape, dtype=torch.uint8), 224)).shape == (3, 224, 224)
    assert to_tensor(fit(Image.new("RGB", shape), 224)).shape == (3, 224, 224)
    array = torch.zeros(3, 2, 1001, dtype=torch.uint8)
    array[:, :, 500] = 255
    assert fit(array, 2).tolist() == array[:, :, 499:501].tolist()


def test_fit_leaves_what_fits():
    image = picture(0, (20, 20))
    assert fit(image, 20) is image


def test_file_augment_gives_one_size():
    crop = FileAugment(16, (0.2, 1.0))
    assert crop(picture(0, (50, 31))).size == (16, 16)
    assert crop(to_tensor(picture(0, (50, 31)))).shape == (3, 16, 16)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop_padding": -1}, "crop_padding must be 0 or more pixels, got -1"),
        ({"cutout": -2}, "cutout must be 0 or more pixels, got -2"),
        ({"scale": [0.5]}, r"0 < low <= high <= 1, got \[0.5\]"),
        ({"scale": [0.9, 0.1]}, r"got \[0.9, 0.1\]"),
        ({"scale": [0.1, 1], "crop_padding": 4}, "two kinds of crop"),
    ],
)
def test_errors(settings, message):
    with pytest.raises(UserError, match=message):
        Augment(**settings)
    with pytest.raises(TypeError):
        Augment(mirror=True)
