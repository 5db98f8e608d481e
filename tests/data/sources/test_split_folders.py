import logging

import pytest

from data_helpers import write_folder
from distill.data.sources import image_folder
from distill.utils.errors import UserError


def write(root, layout):
    """Folders with two images each: "train/ant train/bee test/ant test/bee"."""
    for name in layout.split():
        write_folder(root, (name,), 2)
    return root


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [("Train", "Val", "Test"), ("training", "validation", "testing"), ("TRAIN", "valid", "test")],
)
def test_splits_are_known_by_their_usual_names_in_capitals_or_not(tmp_path, train, val, test):
    for count, name in enumerate((train, val, test), start=1):
        write_folder(tmp_path / name, count=count)
    splits = image_folder(tmp_path)
    assert splits.classes == ["ant", "bee"]
    assert [len(split) for split in (splits.train, splits.val, splits.test)] == [2, 4, 6]
    assert splits.val.labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("val/ant val/bee test/ant test/bee", "holds test, val but no folder called train"),
        ("ant bee test/ant test/bee", "holds test beside ant, bee but no folder called train"),
        ("train test", "test, train are no classes by their names: expected train/<class>/"),
        ("train/ant train/bee Training/ant Training/bee", "holds Training and train, two folders for one split"),
        ("train/ant train/bee val/ant val/bee valid/ant valid/bee", "val and valid, two folders for one split"),
        ("train2017/ant train2017/bee val2017/ant val2017/bee", "train2017, val2017 are no classes by their names"),
        ("seg_train/ant seg_test/ant seg_pred", "seg_test, seg_train are no classes by their names"),
        ("1_train/ant 2_test/ant", "1_train, 2_test are no classes by their names"),
        ("trainset/ant testset/ant", "testset, trainset are no classes by their names"),
        ("TrainImages TestImages", "TestImages, TrainImages are no classes by their names"),
        (
            "train/ant train/bee test",
            r"test holds no class folders \(ant, bee\): sort its images into them, or move it",
        ),
        (
            "bus car train/steam train/electric",
            r"train \(with electric, steam\) beside bus, car, which hold samples",
        ),
        ("ant/train ant/test bee/train bee/test", "ant, bee hold test, train: expected train/<class>/"),
        ("all/train/ant all/train/bee all/val/ant", "all hold train, val: expected .* set data.root= to the one"),
    ],
)
def test_folders_that_could_be_splits_or_classes_are_refused(tmp_path, layout, message):
    with pytest.raises(UserError, match=message) as caught:
        image_folder(write(tmp_path, layout))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "layout",
    ["plane train", "freight_train passenger_train", "test_tube bottle", "ant/a ant/b bee/a bee/b", "day training"],
)
def test_classes_may_be_called_almost_like_splits(tmp_path, layout):
    names = sorted({name.partition("/")[0] for name in layout.split()})
    splits = image_folder(write(tmp_path, layout))
    assert (splits.classes, splits.val, splits.test) == (names, None, None)


def test_what_is_read_as_a_class_or_left_out_is_said(tmp_path, caplog):
    logging.getLogger("distill").propagate = True
    image_folder(write(tmp_path / "classes", "plane train"))
    assert "classes/train holds no folders: it is read as a class of that name" in caplog.text
    image_folder(write(tmp_path / "folds", "one/ant one/bee two/ant two/bee"))
    assert "folds: one, two are read as classes, though each holds the folders ant, bee" in caplog.text
    caplog.clear()
    splits = image_folder(write(tmp_path / "splits", "train/ant train/bee test/ant test/bee samples"))
    assert "left out, as neither train, val nor test: samples" in caplog.text
    assert (splits.classes, len(splits.test)) == (["ant", "bee"], 4)


def test_folders_of_the_system_and_hidden_ones_are_no_classes(tmp_path):
    write(tmp_path, "ant bee __MACOSX/ant .cache .ipynb_checkpoints @eaDir $RECYCLE.BIN lost+found")
    write(tmp_path / "ant", "__MACOSX .thumbnails")
    (tmp_path / "ant" / "Thumbs.db").write_bytes(b"none")
    (tmp_path / "bee" / "._000.png").write_bytes(b"resource fork")
    splits = image_folder(tmp_path)
    assert splits.classes == ["ant", "bee"]
    assert splits.train.labels.tolist() == [0, 0, 1, 1]


def test_a_folder_without_images_beside_the_splits_is_passed_over(tmp_path):
    write(tmp_path, "train/ant train/bee")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "boxes.xml").write_text("none")
    assert image_folder(tmp_path).classes == ["ant", "bee"]


def test_names_in_two_unicode_forms_are_one_class(tmp_path):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    write(tmp_path, f"train/{decomposed} train/tea val/{composed} val/tea")
    splits = image_folder(tmp_path)
    assert splits.classes == [composed, "tea"]
    assert splits.val.labels.tolist() == [0, 0, 1, 1]
    write(tmp_path / "two", f"{composed} {decomposed}")
    with pytest.raises(UserError, match="two folders called caf.*, in two Unicode forms: make one of them"):
        image_folder(tmp_path / "two")


def test_a_long_list_of_classes_is_cut_short(tmp_path):
    for name in [f"c{i:02}" for i in range(20)]:
        (tmp_path / "train" / name).mkdir(parents=True)
    write(tmp_path, "test/other")
    with pytest.raises(UserError, match=r"it lacks c00, c01, c02, c03, c04, \.\.\. \(20 in all\) and alone has other"):
        image_folder(tmp_path)
