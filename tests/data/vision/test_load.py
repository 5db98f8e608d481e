import functools
import logging

import pytest
import torch

from data_helpers import picture, write_folder
from distill.data import ImageDataModule, Splits, TensorImages
from distill.data.sources import image_folder
from distill.data.splits import Split
from distill.data.vision.load import _Decoder, load
from distill.utils.errors import UserError


@pytest.fixture
def truncated(tmp_path):
    """A folder of 30 JPEGs of which one lacks its last tenth."""
    root = write_folder(tmp_path / "root", ("ant", "bee"), 15, size=(40, 40), kind="jpg")
    file = root / "bee" / "007.jpg"
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 9 // 10])
    return root


@pytest.mark.parametrize("options", [{"in_memory": True}, {"in_memory": False}, {"image_size": 16}])
def test_a_truncated_image_is_named_before_training(truncated, options):
    with pytest.raises(UserError, match=r"bee/007\.jpg cannot be read: .*truncated") as caught:
        ImageDataModule.from_options(functools.partial(image_folder, truncated), 4, **options).setup()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("memory", [True, False])
def test_broken_images_are_skipped_and_counted(truncated, memory, caplog):
    (truncated / "ant" / "003.jpg").write_bytes(b"")
    (truncated / "ant" / "004.jpg").write_text("no image")
    data = ImageDataModule.from_options(
        functools.partial(image_folder, truncated), 4, in_memory=memory, num_workers=0, on_broken="skip"
    )
    with caplog.at_level(logging.WARNING, "distill"):
        facts = data.describe()
    assert facts["train"] + facts["val"] + facts["test"] == 27
    assert "not an image that Pillow can read" in caplog.text
    assert sum("broken of" in r.message for r in caplog.records) == len(
        {r.message[-20:] for r in caplog.records if "broken of" in r.message}
    )
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        index = torch.cat([batch.index for batch in loader])
        assert not {3, 4, 22} & set(index.tolist())


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_breaks_during_training(truncated, workers, caplog):
    write = (truncated / "bee" / "007.jpg").write_bytes
    write((truncated / "bee" / "008.jpg").read_bytes())
    make = functools.partial(
        ImageDataModule.from_options,
        functools.partial(image_folder, truncated),
        1,
        in_memory=False,
        num_workers=workers,
    )
    strict, lenient = make(), make(on_broken="skip")
    whole = [batch.index.item() for batch in lenient.train_dataloader()]
    row = whole[0]
    lost = lenient.loaded.splits["train"].dataset
    strict.setup()
    file = lost.root / lost.names[row]
    file.write_bytes(b"")
    with pytest.raises(UserError, match="cannot be read") as caught:
        list(strict.train_dataloader())
    assert "\n" not in str(caught.value)
    assert [batch.index.item() for batch in lenient.train_dataloader()] == whole[1:]


def test_nothing_left(tmp_path):
    root = write_folder(tmp_path / "root")
    for file in root.rglob("*.png"):
        file.write_bytes(b"")
    for memory in (True, False):
        with pytest.raises(UserError, match="none of the 14 images of the train split can be read"):
            ImageDataModule.from_options(
                functools.partial(image_folder, root), 4, in_memory=memory, on_broken="skip", val_fraction=0.15
            ).setup()


def test_decoding_in_processes_gives_the_same(tmp_path, monkeypatch):
    images = image_folder(write_folder(tmp_path / "root", count=20)).train
    rows = torch.tensor([3, 1, 30, 39, 7, 8, 9])

    def decoded(on_broken="error"):
        return load(Split(images, rows), "train", (12, 12), None, memory=True, on_broken=on_broken)

    in_this_process = decoded()
    monkeypatch.setattr("distill.data.vision.load._MANY_PIXELS", 1)
    monkeypatch.setattr("distill.data.vision.load._CHUNK_BYTES", 2 * 3 * 12 * 12)
    assert len(_Decoder(images, rows, None, torch.zeros(3, 12, 12, dtype=torch.uint8), "error")) == 4
    in_workers = decoded()
    assert torch.equal(in_workers.pixels, in_this_process.pixels)
    assert torch.equal(in_workers.rows, rows)
    (images.root / images.names[30]).write_bytes(b"")
    lenient = decoded("skip")
    assert lenient.rows.tolist() == [3, 1, 39, 7, 8, 9]
    assert torch.equal(lenient.pixels, in_workers.pixels[[0, 1, 3, 4, 5, 6]])
    with pytest.raises(UserError, match="cannot be read"):
        decoded()
    picture(0, (3, 4)).save(images.root / images.names[30])
    with pytest.raises(UserError, match="differ in size: 3×12×12 and 3×4×3"):
        decoded()


def test_float_images_keep_their_values():
    pixels = torch.rand(40, 2, 3, 3) * 10 - 5
    data = ImageDataModule.from_options(
        lambda: Splits(TensorImages(pixels, torch.arange(40) % 2)), 8, mean=[0, 0], std=[1, 1]
    )
    batch = next(iter(data.test_dataloader()))
    assert torch.allclose(batch.inputs, pixels[batch.index])
    with pytest.raises(UserError, match=r"must be \(N, C, H, W\) with N labels"):
        TensorImages(pixels, torch.arange(3))


def test_a_constant_channel_has_std_one():
    images = TensorImages(torch.full((40, 1, 2, 2), 51, dtype=torch.uint8), torch.arange(40) % 2)
    scaling = ImageDataModule.from_options(lambda: Splits(images), 8).preprocess.scaling
    assert scaling.mean == pytest.approx((0.2,), abs=1e-6)
    assert scaling.std == (1.0,)


def test_images_of_another_size_than_pixels_are_fitted():
    images = TensorImages(torch.full((40, 1, 6, 6), 51, dtype=torch.uint8), torch.arange(40) % 2)
    assert ImageDataModule.from_options(lambda: Splits(images), 8, image_size=4).example().shape == (2, 1, 4, 4)
    assert ImageDataModule.from_options(lambda: Splits(images), 8, image_size=6).example().shape == (2, 1, 6, 6)


def test_files_without_statistics_of_their_own(truncated):
    (truncated / "bee" / "007.jpg").unlink()
    data = ImageDataModule.from_options(functools.partial(image_folder, truncated, channels=1), 4, in_memory=False)
    assert data.preprocess.scaling.mean == (0.449,)
    images = TensorImages(torch.zeros(40, 2, 6, 6, dtype=torch.uint8), torch.arange(40) % 2)
    with pytest.raises(UserError, match=r"data\.mean and data\.std must be given for images of 2 channels"):
        ImageDataModule.from_options(lambda: Splits(images), 4, in_memory=False).setup()
