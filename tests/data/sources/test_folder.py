import functools

import numpy as np
import pytest
import torch
from PIL import Image

from data_helpers import picture, write_folder
from distill.data import DataModule
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
    data = DataModule.from_options(source, 4, image_size=16, in_memory=memory, num_workers=0, val_fraction=0.2)
    assert data.example(2).shape == (2, channels, 16, 16)
    assert data.classes == ["ant", "bee"]
    assert sum(data.describe()[name] for name in ("train", "val", "test")) == 2 * len(MODES)


def test_modes_keep_their_picture(tmp_path):
    root = write_folder(tmp_path / "root", count=1)
    for mode in ("RGB", "RGBA", "P", "L"):
        picture(3, mode=mode).save(root / "ant" / "000.png")
        found = np.asarray(image_folder(root).train.image(0)).astype(int)
        assert np.abs(found - np.asarray(picture(3, mode=mode).convert("RGB")).astype(int)).max() == 0
    sixteen = np.arange(144, dtype=np.uint16).reshape(12, 12) * 400
    Image.fromarray(sixteen).save(root / "ant" / "000.png")
    np.testing.assert_array_equal(np.asarray(image_folder(root, channels=1).train.image(0)), sixteen >> 8)
    clear = picture(3).convert("P")
    clear.save(root / "ant" / "000.png", transparency=b"\x00\x80")
    assert image_folder(root).train.image(0).mode == "RGB"


def test_exif_orientation_is_not_applied(tmp_path):
    root = write_folder(tmp_path / "root", count=1)
    image = picture(0, (20, 10))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(root / "ant" / "000.png", exif=exif)
    assert image_folder(root).train.image(0).size == (20, 10)


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_split_folders(tmp_path, val):
    for name, count in (("train", 9), (val, 4), ("test", 3)):
        write_folder(tmp_path / name, count=count)
    splits = image_folder(tmp_path)
    assert [len(s) for s in (splits.train, splits.val, splits.test)] == [18, 8, 6]
    assert torch.equal(splits.train.labels, torch.tensor([0] * 9 + [1] * 9))
    data = DataModule.from_options(functools.partial(image_folder, tmp_path), 4)
    assert data.describe()["carved"] == []


def test_a_class_may_be_called_train(tmp_path):
    write_folder(tmp_path, ("plane", "train"))
    splits = image_folder(tmp_path)
    assert splits.classes == ["plane", "train"]
    assert splits.val is None


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
