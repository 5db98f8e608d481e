import numpy as np
import pytest
import torch
from PIL import Image

from distill.data import ImageDataModule, sources
from distill.data.vision import pixels
from distill.utils.errors import UserError


def value(number, dtype):
    return np.full((8, 8), number, dtype)


def folder(root, make, count=20, suffix="tif"):
    for label in range(2):
        (root / "ab"[label]).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(make(label, i)).save(root / "ab"[label] / f"{i:02}.{suffix}")
    return sources.image_folder(root)


@pytest.mark.parametrize(
    ("make", "suffix"),
    [
        (lambda label, i: value((100 * label + i + 5) / 255, np.float32), "tif"),
        (lambda label, i: value(100 * label + i + 5.25, np.float32), "tif"),
        (lambda label, i: value(100 * label + i + 5, np.int32), "tif"),
        (lambda label, i: value((100 * label + i + 5) << 8, np.int32), "tif"),
        (lambda label, i: value((100 * label + i + 5) << 8, np.uint16), "tif"),
        (lambda label, i: value((100 * label + i + 5) << 8, np.uint16), "png"),
    ],
    ids=["float 0..1", "float 0..255", "int32 0..255", "int32 0..65535", "16-bit TIFF", "16-bit PNG"],
)
def test_deep_images_keep_their_brightness(tmp_path, make, suffix):
    images = folder(tmp_path, make, suffix=suffix).train
    for row in (0, 7, 39):
        assert np.asarray(images.image(row)).shape == (8, 8, 3)
        assert (np.asarray(images.image(row)) == 100 * (row // 20) + row % 20 + 5).all()
        assert images.check(row) == (8, 8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda label, i: value(np.nan if label and i == 7 else 0.5, np.float32), "07.tif .* NaN or infinite"),
        (lambda label, i: value(1 if label and i == 7 else 99, np.float32), "07.tif .* from 0 to 1; all images"),
        (lambda label, i: value(9 if label and i == 7 else 999, np.int32), "07.tif .* from 0 to 9; all images"),
        (lambda label, i: value(i - 99, np.float32), r"its values reach from -\d+ to 0"),
        (lambda label, i: value(1e5, np.float32), "from 0 to 100000; all images must have one range, 0..1 or 0..255"),
        (lambda label, i: value(1.02, np.float32), "from 0 to 1.02"),
        (lambda label, i: value(5 * i, np.uint16), "16 bits, but no image seems to use more than 8"),
    ],
)
@pytest.mark.parametrize("memory", [True, False])
def test_deep_images_of_no_clear_range_are_refused(tmp_path, make, message, memory):
    splits = folder(tmp_path, make)
    with pytest.raises(UserError, match=message) as caught:
        ImageDataModule.from_options(lambda: splits, 8, in_memory=memory).setup()
    assert "\n" not in str(caught.value)


def test_one_deep_image_alone():
    for values, expected in ((np.float32(0.5), 128), (np.float32(50), 50), (np.int32(50), 50), (np.int32(2560), 10)):
        image = Image.fromarray(np.full((4, 4), values))
        assert (np.asarray(pixels.convert(image, 1)) == expected).all()


@pytest.mark.parametrize(
    ("shape", "array", "tensor"),
    [
        ((3, 8, 8), False, False),
        ((1, 8, 9), False, False),
        ((5, 8, 8), False, False),
        ((8, 8, 3), True, True),
        ((8, 9, 4), True, None),
        ((64, 64, 10), True, None),
        ((16, 4, 4), None, False),
        ((10, 8, 9), None, False),
        ((3, 8, 3), None, False),
    ],
)
def test_where_the_channels_are(shape, array, tensor):
    for is_tensor, expected in ((False, array), (True, tensor)):
        if expected is None:
            with pytest.raises(ValueError, match="may be C×H×W or H×W×C"):
                pixels.is_channels_last(shape, is_tensor)
        else:
            assert pixels.is_channels_last(shape, is_tensor) is expected


def test_a_tensor_of_another_type_is_no_image():
    with pytest.raises(ValueError, match=r"must be a uint8 or float tensor, got torch\.int64"):
        pixels.to_tensor(torch.zeros(1, 2, 2, dtype=torch.int64))
