"""Images with masks: layouts, values, and what is wrong with them."""

import io

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet as pq

from data_helpers import encoded, picture
from distill.data.sources import masks
from distill.data.sources.mask_layouts import CITYSCAPES_CLASSES, VOC_CLASSES
from distill.utils.errors import UserError
from distill.utils.palette import PALETTE

SIZE = (6, 4)  # width, height


def values(number: int, classes: int = 3) -> np.ndarray:
    """A mask that has every class, and one pixel of none."""
    mask = (np.arange(SIZE[0] * SIZE[1]) + number).reshape(SIZE[1], SIZE[0]) % classes
    mask[0, 0] = 255
    return mask.astype(np.uint8)


def save(path, array, mode="P", **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    if mode == "P":
        image = Image.fromarray(array, mode="P")
        image.putpalette(PALETTE)
    image.save(path, **settings)


def write(root, images="images", masks_="masks", count=4, make=values, mode="P", suffix="png"):
    for i in range(count):
        (root / images).mkdir(parents=True, exist_ok=True)
        picture(i, SIZE).save(root / images / f"{i:02}.jpg")
        save(root / masks_ / f"{i:02}.{suffix}", make(i), mode)
    return root


@pytest.mark.parametrize("mode", ["P", "L"])
def test_palette_and_grey_masks_are_class_numbers(tmp_path, mode):
    found = masks(write(tmp_path, mode=mode))
    assert found.val is None
    assert found.classes == ["0", "1", "2"]
    for row in range(4):
        assert np.array_equal(found.train.mask(row), values(row))
    assert found.train.image(0).size == SIZE


@pytest.mark.parametrize(
    "layout", [("images/{}", "masks/{}"), ("{}/images", "{}/masks"), ("{}/JPEGImages", "{}/labels")]
)
def test_split_folders_on_either_side(tmp_path, layout):
    for count, split in ((4, "train"), (3, "valid"), (2, "test")):
        write(tmp_path, layout[0].format(split), layout[1].format(split), count)
    found = masks(tmp_path)
    assert [len(each) for each in (found.train, found.val, found.test)] == [4, 3, 2]
    assert found.val.name(1).endswith("01.jpg")


def test_vocs_layout(tmp_path):
    write(tmp_path, "JPEGImages", "SegmentationClass", 5, lambda i: values(i, 21))
    picture(9, SIZE).save(tmp_path / "JPEGImages" / "09.jpg")  # most of VOC's images have no mask
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("03\n01\n00\n")
    (lists / "val.txt").write_text("02\n")
    (lists / "test.txt").write_text("09\n")
    found = masks(tmp_path)
    assert found.classes == list(VOC_CLASSES)
    assert len(found.val) == 1
    assert found.test is None
    assert np.array_equal(found.train.mask(0), values(3, 21))
    (lists / "val.txt").write_text("09\n")
    with pytest.raises(UserError, match=r"val.txt lists 09, and .*SegmentationClass has no mask of it"):
        masks(tmp_path)


@pytest.mark.parametrize("kind", ["TrainIds", "Ids"])
def test_cityscapes_layout(tmp_path, kind):
    ids = list(CITYSCAPES_CLASSES.values())
    for split in ("train", "val", "test"):
        name = f"{split}/bonn/bonn_000001_000019"
        (tmp_path / "leftImg8bit" / split / "bonn").mkdir(parents=True)
        picture(0, SIZE).save(tmp_path / "leftImg8bit" / f"{name}_leftImg8bit.png")
        mask = np.array([[0, 1, 18, 255]] * 4) if kind == "TrainIds" else np.array([[ids[0], ids[1], ids[18], 255]] * 4)
        no_class = 255 if kind == "TrainIds" else 1  # the ego vehicle, which is not evaluated
        mask = np.pad(mask, ((0, 0), (0, 2)), constant_values=no_class).astype(np.uint8)
        save(tmp_path / "gtFine" / f"{name}_gtFine_label{kind}.png", mask, "L")
    found = masks(tmp_path)
    assert found.classes == list(CITYSCAPES_CLASSES)
    assert found.test is None
    assert found.train.mask(0)[0].tolist() == [0, 1, 18, 255, 255, 255]


def test_parquet_with_two_columns_of_images(tmp_path):
    contents = []
    for i in range(3):
        file = io.BytesIO()
        Image.fromarray(values(i)).save(file, "PNG")
        contents.append(file.getvalue())
    table = pa.table({"image": [encoded(i, size=SIZE) for i in range(3)], "annotation": contents, "id": [1, 2, 3]})
    pq.write_table(table, tmp_path / "train-0.parquet")
    found = masks(tmp_path)
    assert len(found.train) == 3
    assert np.array_equal(found.train.mask(2), values(2))
    with pytest.raises(UserError, match=r"there is no 'masks' as the label column \(data.label\)"):
        masks(tmp_path, mask_column="masks")


def test_values_of_ones_own_and_another_ignored_value(tmp_path):
    def make(number):
        return np.where(values(number) == 1, 255, np.where(values(number) == 255, 7, 0)).astype(np.uint8)

    found = masks(write(tmp_path, make=make), classes={"background": 0, "object": 255}, ignore=7)
    assert found.classes == ["background", "object"]
    expected = np.where(make(1) == 255, 1, np.where(make(1) == 7, 255, 0))
    assert np.array_equal(found.train.mask(1), expected)
    with pytest.raises(UserError, match=r"hold the value 0 alone, beside the ignored 255: of two classes, name each"):
        masks(write(tmp_path / "binary", make=lambda i: np.where(values(i) == 1, 255, 0).astype(np.uint8)))


def test_an_ignored_value_below_the_classes_is_left_out_of_a_list_of_names(tmp_path):
    found = masks(write(tmp_path, make=lambda i: values(i) % 255), classes=["a", "b"], ignore=0)
    assert found.train.mask(0)[1].tolist() == [1 - 1 if v == 1 else 1 if v == 2 else 255 for v in values(0)[1]]


def test_an_image_without_its_mask(tmp_path):
    write(tmp_path)
    (tmp_path / "masks" / "02.png").unlink()
    with pytest.raises(
        UserError, match=r"images/02.jpg has no mask: there is no 02.png in .* \(1 of 4 images have none"
    ):
        masks(tmp_path)


def test_sizes_that_differ(tmp_path):
    write(tmp_path)
    save(tmp_path / "masks" / "01.png", values(0)[:3])
    with pytest.raises(UserError, match=r"01.jpg and its mask .*01.png differ in size, height × width: 4×6 and 3×6"):
        masks(tmp_path)


def test_values_beyond_the_classes_are_told_with_file_and_count(tmp_path):
    write(tmp_path)
    save(tmp_path / "masks" / "03.png", np.where(values(3) == 2, 9, values(3)).astype(np.uint8))
    count = int((values(3) == 2).sum())
    expected = rf"03.png holds the value 9 \({count} pixels; 1 of 4 masks do\): the 3 classes have the values 0..2"
    with pytest.raises(UserError, match=expected):
        masks(tmp_path, classes=3)
    with pytest.raises(UserError, match="gaps below it: name them"):
        masks(tmp_path)


def test_masks_saved_as_jpeg(tmp_path):
    write(tmp_path, make=lambda i: values(i) // 3 * 100, mode="L", suffix="jpg")
    with pytest.raises(UserError, match="it is a JPEG, which blurs class numbers"):
        masks(tmp_path, classes={"a": 0, "b": 200}, ignore=None)


def test_a_mask_in_colours(tmp_path):
    write(tmp_path)
    picture(0, SIZE).save(tmp_path / "masks" / "00.png")
    with pytest.raises(UserError, match="a picture in colours, and a mask holds class numbers"):
        masks(tmp_path)


@pytest.mark.parametrize("classes", [1, ["a", "a"], "two", {"a": 0, "b": 0}, {"a": 0, "b": 300}])
def test_classes_that_are_none(tmp_path, classes):
    write(tmp_path)
    with pytest.raises(UserError, match="data.source.classes must be"):
        masks(tmp_path, classes=classes)


def test_folders_that_hold_neither(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(UserError, match="holds photos: expected images/ and masks/"):
        masks(tmp_path)


def test_other_numbers_of_the_same_classes(tmp_path):
    found = masks(write(tmp_path)).train.renumbered(torch.tensor([5, 0, 2]))
    expected = np.select([values(1) == 0, values(1) == 1, values(1) == 2], [5, 0, 2], 255)
    assert np.array_equal(found.mask(1), expected)


def test_the_fingerprint_covers_masks(tmp_path):
    write(tmp_path)
    before = masks(tmp_path).train.identity(torch.arange(4))
    assert masks(tmp_path).train.identity(torch.arange(4)) == before
    save(tmp_path / "masks" / "01.png", values(2))
    assert masks(tmp_path).train.identity(torch.arange(4)) != before
