import functools
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from data_helpers import picture, write_folder
from distill.data import ImageDataModule
from distill.data.sources import image_folder
from distill.utils.errors import UserError

MODES = {"a.png": "L", "b.png": "P", "c.png": "RGBA", "d.jpg": "CMYK", "e.bmp": "RGB", "f.webp": "RGB", "g.gif": "P"}


def odd_files(root):
    """Images of every mode, format and size, nested, between files that are none."""
    for name in ("ant", "bee"):
        (root / name / "deep" / "deeper").mkdir(parents=True)
        for i, (file, mode) in enumerate(MODES.items()):
            picture(i, (20 + i, 31 - i), mode).save(root / name / ("deep/deeper" if i % 2 else "") / file.upper())
        (root / name / "notes.txt").write_text("no image")
        (root / name / "._a.png").write_bytes(b"resource fork")
    (root / ".hidden").mkdir()
    return root


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("memory", [True, False])
def test_any_format_mode_and_size(tmp_path, channels, memory):
    source = functools.partial(image_folder, odd_files(tmp_path / "root"), channels=channels)
    data = ImageDataModule.from_options(source, 4, image_size=16, in_memory=memory, num_workers=0, val_fraction=0.2)
    assert data.example(2).shape == (2, channels, 16, 16)
    assert data.classes == ["ant", "bee"]
    assert sum(data.describe()[name] for name in ("train", "val", "test")) == 2 * len(MODES)


def test_modes_keep_their_picture(tmp_path):
    root = write_folder(tmp_path / "root", count=1)
    for mode in ("RGB", "RGBA", "P", "L"):
        picture(3, mode=mode).save(root / "ant" / "000.png")
        pixels = np.asarray(image_folder(root).train.image(0)).astype(int)
        assert np.abs(pixels - np.asarray(picture(3, mode=mode).convert("RGB")).astype(int)).max() == 0
    sixteen = np.arange(144, dtype=np.uint16).reshape(12, 12) * 400
    Image.fromarray(sixteen).save(root / "ant" / "000.png")
    np.testing.assert_array_equal(np.asarray(image_folder(root, channels=1).train.image(0)), sixteen >> 8)
    clear = picture(3).convert("P")
    clear.save(root / "ant" / "000.png", transparency=b"\x00\x80")
    assert image_folder(root).train.image(0).mode == "RGB"


def test_no_image_is_a_program(tmp_path, caplog, monkeypatch):
    """Pillow would hand PostScript to Ghostscript, whatever the file is called."""
    root = write_folder(tmp_path / "root", count=4)
    (root / "ant" / "x.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\nshowpage\n")
    assert len(image_folder(root).train) == 8
    assert "passed over, as Pillow opens no such files: 1 .eps" in caplog.text
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was called"))
    (root / "ant" / "x.eps").replace(root / "ant" / "x.png")
    with pytest.raises(UserError, match=r"x.png cannot be read: not an image that Pillow can read"):
        ImageDataModule.from_options(functools.partial(image_folder, root), 4, image_size=16).setup()


def test_several_pictures_in_one_jpeg(tmp_path):
    root = write_folder(tmp_path / "root", count=4)
    picture(3).save(root / "ant" / "x.mpo", save_all=True, append_images=[picture(1)])
    train = image_folder(root).train
    assert len(train) == 9
    assert train.image(4).size == picture(3).size


@pytest.mark.parametrize("turned", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_images_are_upright(tmp_path, suffix, turned):
    root = write_folder(tmp_path / "root", count=1)
    (root / "ant" / "000.png").unlink()
    image = Image.new("L", (20, 10))
    image.paste(255, (0, 0, 5, 10))  # a bright edge
    exif = image.getexif()
    exif[0x0112] = turned
    image.save(root / "ant" / f"000.{suffix}", exif=exif, quality=100)
    images = image_folder(root, channels=1).train
    pixels = np.asarray(images.image(0))
    bright = {1: np.s_[:, :5], 2: np.s_[:, -5:], 3: np.s_[:, -5:], 4: np.s_[:, :5]}
    lying = {5: np.s_[:5], 6: np.s_[:5], 7: np.s_[-5:], 8: np.s_[-5:]}
    assert pixels.shape == images.check(0) == ((20, 10) if turned > 4 else (10, 20))
    assert pixels[(bright | lying)[turned]].min() > 250
    assert (pixels > 128).sum() == 50


def test_exif_data_that_cannot_be_read_turn_nothing(tmp_path):
    root = write_folder(tmp_path / "root", count=1)
    picture(0, (20, 10)).save(root / "ant" / "000.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    images = image_folder(root).train
    assert images.image(0).size == (20, 10)
    assert images.check(0) == (10, 20)


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_split_folders(tmp_path, val):
    for name, count in (("train", 9), (val, 4), ("test", 3)):
        write_folder(tmp_path / name, count=count)
    splits = image_folder(tmp_path)
    assert [len(s) for s in (splits.train, splits.val, splits.test)] == [18, 8, 6]
    assert torch.equal(splits.train.labels, torch.tensor([0] * 9 + [1] * 9))
    data = ImageDataModule.from_options(functools.partial(image_folder, tmp_path), 4)
    assert data.describe()["carved"] == []


def test_a_link_within_a_class_counts_once(tmp_path):
    root = write_folder(tmp_path, count=3)
    (root / "ant" / "again.png").symlink_to("000.png")
    (root / "ant" / "all").symlink_to(root / "ant")
    assert image_folder(root).train.labels.tolist() == [0] * 3 + [1] * 3


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_a_file_in_two_classes_or_two_splits_is_refused(tmp_path, link):
    root = write_folder(tmp_path / "classes", count=3)
    getattr(root / "bee" / "x.png", link)(root / "ant" / "000.png")
    with pytest.raises(UserError, match=r"bee/x.png is the same file as .*ant/000.png, by a link"):
        image_folder(root)
    for name in ("train", "test"):
        write_folder(tmp_path / "splits" / name, count=3)
    getattr(tmp_path / "splits/test/ant/x.png", link)(tmp_path / "splits/train/ant/000.png")
    with pytest.raises(UserError, match=r"splits/test/ant/x.png is the same file as .*splits/train/ant/000.png"):
        image_folder(tmp_path / "splits")


def test_a_split_that_is_a_link_to_another_is_refused(tmp_path):
    write_folder(tmp_path / "train")
    (tmp_path / "val").symlink_to("train")
    with pytest.raises(UserError, match="a sample can have one class and be in one split only"):
        image_folder(tmp_path)


def test_names_that_are_no_utf8(tmp_path):
    root = write_folder(tmp_path, count=6)
    (root / "ant" / "000.png").rename(root / "ant" / os.fsdecode(b"caf\xe9.png"))
    (root / "bee").rename(root / os.fsdecode(b"b\xe9e"))
    splits = image_folder(root)
    assert splits.classes == ["ant", r"b\xe9e"]
    assert splits.train.name(5) == rf"{root}/ant/caf\xe9.png"
    assert splits.train.image(5).size == (12, 12)
    assert len(splits.train.identity(torch.arange(12))) == 32


def test_the_identity_is_of_content(tmp_path):
    def identity(root):
        images = image_folder(root).train
        return images.identity(torch.arange(len(images)))

    root = write_folder(tmp_path / "root", kind="bmp")
    before = identity(root)
    shutil.copytree(root, tmp_path / "copy")
    assert identity(tmp_path / "copy") == before
    for old, new in (("ant", "t"), ("bee", "ant"), ("t", "bee")):  # the same names and sizes
        (root / old).rename(root / new)
    assert identity(root) != before


def test_a_pipe_or_a_link_to_nothing_is_a_broken_image(tmp_path):
    root = write_folder(tmp_path)
    os.mkfifo(root / "ant" / "pipe.png")
    source = functools.partial(image_folder, root)
    with pytest.raises(UserError, match=r"ant/pipe.png cannot be read: a named pipe, not a file$"):
        ImageDataModule.from_options(source, 4).setup()
    (root / "ant" / "pipe.png").unlink()
    (root / "bee" / "gone.png").symlink_to("nothing.png")
    with pytest.raises(UserError, match=r"bee/gone.png cannot be read: no such file or directory$"):
        ImageDataModule.from_options(source, 4).setup()
    data = ImageDataModule.from_options(source, 4, on_broken="skip")
    assert sum(data.describe()[name] for name in ("train", "val", "test")) == 20


def test_errors(tmp_path):
    def message(root, **kwargs):
        with pytest.raises(UserError) as caught:
            image_folder(root, **kwargs)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "there is no folder" in message(tmp_path / "nowhere")
    assert "data.root=" in message(tmp_path / "nowhere")
    assert "holds no class folders" in message(tmp_path)
    write_folder(tmp_path / "one", ("ant",))
    assert "one class folder only (ant)" in message(tmp_path / "one")
    write_folder(tmp_path / "two")
    (tmp_path / "two" / "cow").mkdir()
    assert "cow holds no images" in message(tmp_path / "two")
    write_folder(tmp_path / "three" / "train", ("ant", "bee"))
    write_folder(tmp_path / "three" / "test", ("ant", "cow"))
    assert "test has other class folders than train: it lacks bee and alone has cow" in message(tmp_path / "three")
    assert "channels must be 1 or 3, got 4" in message(tmp_path, channels=4)


def test_files_that_are_passed_over_are_counted(tmp_path, caplog):
    root = write_folder(tmp_path / "root")
    for name in ("a.heic", "b.HEIC", "notes.txt", ".hidden.heic", "Thumbs.db", "README"):
        (root / "bee" / name).write_bytes(b"ftypheic")
    assert len(image_folder(root).train) == 20
    assert caplog.messages == [f"{root}: passed over, as Pillow opens no such files: 2 .heic, 1 without suffix, 1 .txt"]
    for file in (root / "ant").glob("*.png"):
        file.rename(file.with_suffix(".dng"))
    with pytest.raises(UserError, match=r"root/ant holds no images, nothing but 10 \.dng$"):
        image_folder(root)


def test_images_without_classes(tmp_path):
    """Of a task without labels: folders are entered and mean nothing, splits go by their names."""
    root = tmp_path / "photos"
    for i, name in enumerate(("a.png", "b.png", "deep/c.png", "deep/train/d.png", "e.png")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture(i, (8, 8), "RGB").save(root / name)
    splits = image_folder(root, targets="none")
    assert splits.train.names == ["a.png", "b.png", "deep/c.png", "deep/train/d.png", "e.png"]
    assert splits.val is splits.test is splits.classes is None
    data = ImageDataModule.from_options(
        functools.partial(image_folder, root, targets="none"),
        2,
        targets="none",
        num_workers=0,
        val_fraction=0.3,
        test_fraction=0.3,
    )
    assert data.classes == []
    assert {int(target) for batch in data.train_dataloader() for target in batch.target} == {0}
    (root / "Train").mkdir()
    (root / "test" / "cats").mkdir(parents=True)
    picture(7, (8, 8), "RGB").save(root / "Train" / "f.png")
    picture(8, (8, 8), "RGB").save(root / "test" / "cats" / "g.png")
    splits = image_folder(root, targets="none")
    assert (splits.train.names, splits.test.names, splits.val) == (["f.png"], ["cats/g.png"], None)
    (root / "val").mkdir()
    with pytest.raises(UserError, match="val holds no images"):
        image_folder(root, targets="none")
    os.link(root / "Train" / "f.png", root / "val" / "f.png")
    with pytest.raises(UserError, match=r"is the same file as .*, by a link, in another split"):
        image_folder(root, targets="none")
