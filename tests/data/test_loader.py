import functools

import pytest
import torch

from data_helpers import batches, source
from distill.data import ImageDataModule
from distill.data.sources import image_folder
from distill.data.vision.pixels import BrokenImageError
from distill.utils.errors import UserError

AUGMENT = {"crop_padding": 2, "flip": True, "cutout": 3}


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_goes_on_in_its_middle(folder, workers):
    data = ImageDataModule.from_options(
        functools.partial(image_folder, folder), 5, augment=AUGMENT, in_memory=workers == 0, num_workers=workers
    )
    whole = batches(data.train_dataloader(), 2)
    loader = data.train_dataloader()
    loader.load_state_dict({"epoch": 2, "batches": 3})
    rest = batches(loader, 2)
    assert len(loader) == len(whole)
    assert len(rest) == len(whole) - 3
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(rest, whole[3:], strict=True))
    assert len(batches(loader, 3)) == len(whole)


def test_a_batch_is_shown_one_step_before_it_is_handed_out():
    loader = ImageDataModule.from_options(source(), 8).train_dataloader()
    handed, shown = [], []
    for count, batch in enumerate(loader):
        handed.append(batch)
        assert loader.state_dict()["batches"] == count + 1
        if count == 1:  # from here on
            loader.prefetch = shown.append
        if shown:
            assert any(batch is seen for seen in shown)
            assert len(shown) == min(len(handed) - 1, len(loader) - 2)
    assert len(handed) == len(loader) > 4
    assert all(a is b for a, b in zip(handed[2:], shown, strict=True))
    again = list(loader)
    assert len(shown) == len(handed) - 2 + len(again)


def test_what_is_left_out_counts_where_batches_are_shown(folder):
    loader = ImageDataModule.from_options(
        functools.partial(image_folder, folder), 4, in_memory=False, num_workers=0
    ).train_dataloader()
    loader.prefetch, get, calls = lambda batch: None, type(loader.dataset).__getitem__, []

    class Leaky(type(loader.dataset)):
        def __getitem__(self, key):  # all images of the second and of the last batch are broken, and skipped
            calls.append(key)
            return None if len(calls) in (2, len(loader)) else get(self, key)

    loader.dataset.__class__ = Leaky
    positions = [loader.state_dict()["batches"] for _ in loader]
    assert positions == [1, *range(3, len(loader))]
    assert loader.state_dict()["batches"] == len(loader)


def test_what_cannot_be_shown_comes_in_its_turn(folder):
    loader = ImageDataModule.from_options(
        functools.partial(image_folder, folder), 4, in_memory=False, num_workers=0
    ).train_dataloader()
    shown, failing = [], 3
    read = loader.dataset.read
    calls = []

    def broken(epoch, positions):
        calls.append(1)
        if len(calls) > failing:
            raise BrokenImageError("bad.png cannot be read")
        return read(epoch, positions)

    loader.dataset.read = broken
    loader.prefetch = shown.append
    handed = []
    batches = iter(loader)
    with pytest.raises(UserError, match="bad.png cannot be read"):
        while True:
            handed.append(next(batches))
    assert len(handed) == len(shown) == failing
