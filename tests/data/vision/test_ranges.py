import pytest
import torch

from data_helpers import Pairs
from distill.data import ImageDataModule, Splits, TensorImages
from distill.utils.errors import UserError

UNIT = torch.rand(60, 3, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(60) % 2
BYTES = (UNIT * 255).to(torch.uint8)


def setup(train, test=None, memory=None, **options):
    test = None if test is None else TensorImages(test, LABELS)
    data = ImageDataModule.from_options(
        lambda: Splits(TensorImages(train, LABELS), test=test), 8, in_memory=memory, num_workers=0, **options
    )
    data.setup()
    return data


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (UNIT, UNIT),
        (BYTES, UNIT),
        (UNIT, BYTES),
        (BYTES, BYTES // 64),
        (UNIT * 255, UNIT * 100),
        (UNIT * 1.1 - 0.05, UNIT),
        (UNIT * 6 - 3, UNIT * 5 - 2),
        (UNIT, UNIT * 0),
    ],
)
def test_splits_of_one_range(train, test):
    assert setup(train, test).num_train == 54


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (
            UNIT,
            UNIT * 255,
            r"train images have values \S+ as floats and test images \S+ as floats: give",
        ),
        (UNIT * 255, UNIT, "give all in one range"),
        (UNIT, UNIT * 2 - 1, "give all in one range"),
        (BYTES, UNIT * 255, "train images have values 0..255 as bytes and test images"),
        (BYTES, UNIT * 2 - 1, "give all in one range"),
        (UNIT, UNIT * 99, "give all in one range"),
        (UNIT * 4000, UNIT, "give all in one range"),
    ],
)
@pytest.mark.parametrize("memory", [True, False])
def test_splits_of_two_ranges(train, test, message, memory):
    with pytest.raises(UserError, match=message) as caught:
        setup(train, test, memory)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("train", "mean", "std"),
    [
        (UNIT * 255, 0.5, 0.25),
        (UNIT, 123.7, 58.4),
        (BYTES, 123.7, 58.4),
    ],
)
def test_a_normalisation_of_another_range(train, mean, std):
    with pytest.raises(UserError, match=r"data\.mean=\[.* are of another range than the images"):
        setup(train, mean=[mean] * 3, std=[std] * 3)


@pytest.mark.parametrize(
    ("train", "mean", "std"),
    [
        (UNIT * 255, 127, 73),
        (UNIT * 255, 0.0, 1.0),
        (UNIT, 0.485, 0.229),
        (BYTES // 64, 0.485, 0.229),
        (UNIT * 2 - 1, 0.0, 0.6),
    ],
)
def test_a_normalisation_that_may_fit(train, mean, std):
    setup(train, mean=[mean] * 3, std=[std] * 3)


def test_imagenets_statistics_do_not_fit_floats_in_0_to_255():
    with pytest.raises(UserError, match="are of another range than the images"):
        ImageDataModule.from_options(lambda: Pairs(lambda i: UNIT[i] * 255), 8, in_memory=False, num_workers=0).setup()


@pytest.mark.parametrize("memory", [True, False])
def test_images_of_one_colour_each_are_warned_of(caplog, memory):
    colours = (torch.arange(60) % 7).to(torch.uint8)[:, None, None, None].expand(60, 3, 4, 4).contiguous()
    setup(colours, memory=memory)
    assert "each of the 43 training images that were looked at is of one colour" in caplog.text
    caplog.clear()
    colours[:, 0, 0, 0] += 1  # a single pixel of a single channel
    setup(colours, memory=memory)
    assert not caplog.messages
