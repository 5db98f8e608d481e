import shutil

import pytest

from data_helpers import picture
from distill.data import ImageDataModule
from distill.data.sources import csv
from distill.utils.errors import UserError

N = 12


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    (folder / "images").mkdir()
    for i in range(N):
        picture(i).save(folder / "images" / f"{i}.png")
    return folder


def table(folder, text, name="labels.csv", encoding="utf-8"):
    (folder / name).write_text(text, encoding=encoding)
    return folder / name


def lines(label, delimiter=",", header=("file", "label"), path="images/{}.png"):
    rows = [header, *((path.format(i), *label(i)) for i in range(N))]
    return "".join(delimiter.join(map(str, row)) + "\n" for row in rows)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_delimiters_and_byte_order_marks(photos, delimiter, encoding):
    file = table(photos, lines(lambda i: (i / 4,), delimiter), encoding=encoding)
    splits = csv(file, targets="numbers")
    assert splits.train.labels.flatten().tolist() == [i / 4 for i in range(N)]
    assert splits.classes == ["label"]
    assert splits.train.image(3).tobytes() == picture(3).tobytes()
    assert splits.train.name(3).endswith("3.png (line 5 of labels.csv)")


def test_classes_by_their_names_in_natural_order(photos):
    splits = csv(table(photos, lines(lambda i: (12 - i,))), label_column="label")
    assert splits.classes == [str(i) for i in range(1, 13)]
    assert splits.train.labels.tolist() == [11 - i for i in range(N)]
    quoted = table(photos, 'file,label\n"images/0.png","a, or ""b"""\n\nimages/1.png,c\n')
    assert csv(quoted).classes == ['a, or "b"', "c"]


def test_a_column_of_splits_and_labels_by_name_across_them(photos):
    def label(i):
        return "cab"[i % 3], ("train", "Train", "val", "test")[i % 4] if i > 3 else "train"

    splits = csv(table(photos, lines(label, header=("file", "label", "split"))))
    assert (len(splits.train), len(splits.val), len(splits.test)) == (8, 2, 2)
    assert splits.classes == ["a", "b", "c"]
    assert splits.val.labels.tolist() == ["abc".index("cab"[i % 3]) for i in (6, 10)]
    assert splits.test.names == ["images/7.png", "images/11.png"]


def test_a_file_per_split_with_its_columns_in_another_order(photos, tmp_path):
    table(tmp_path, "file,x,y\n" + "".join(f"{photos}/images/{i}.png,{i},{-i}\n" for i in range(6)), "train.csv")
    table(tmp_path, "y;x;file\n" + "".join(f"{-i};{i};{photos}/images/{i}.png\n" for i in range(6, 9)), "VAL.csv")
    splits = csv(tmp_path, label_column=["x", "y"], targets="numbers")
    assert splits.classes == ["x", "y"]
    assert splits.val.labels.tolist() == [[6, -6], [7, -7], [8, -8]]
    assert splits.test is None


def test_a_column_without_a_name_is_passed_over(photos):
    rows = lines(lambda i: (i % 3, ""), header=("file", "label", "")).splitlines()
    file = table(photos, "\n".join(f"{'' if n == 0 else n},{row}" for n, row in enumerate(rows)))
    assert csv(file).train.labels.tolist() == [i % 3 for i in range(N)]


def test_a_file_in_two_splits_is_refused(photos):
    rows = "file,label,split\nimages/0.png,a,train\nimages/./0.png,a,train\nimages/1.png,a,{}\nimages/{}.png,a,test\n"
    message = refusal(table(photos, rows.format("train", 2)))
    assert message.startswith("line 3 of labels.csv names the same file as line 2 of labels.csv (train), and what is")
    assert len(csv(table(photos, rows.format("val", 2))).train) == 2  # nothing is carved out of these
    (photos / "images" / "link.png").symlink_to(photos / "images" / "0.png")
    message = "line 5 of labels.csv names the same file as line 2 of labels.csv (train): a sample can be in one split"
    assert refusal(table(photos, rows.format("val", "link"))) == f"{message} only; list it once"


def test_paths_may_begin_in_another_folder(photos):
    file = table(photos, lines(lambda i: (i,), path="{}.png"))
    assert len(csv(file, folder="images").train) == len(csv(file, folder=photos / "images").train) == N


def test_several_labels(photos):
    bits = csv(
        table(photos, lines(lambda i: (i % 2, str(i > 5)), header=("file", "odd", "large"))),
        label_column=["large", "odd"],
        targets="multilabel",
    )
    assert bits.classes == ["large", "odd"]
    assert bits.train.labels.tolist() == [[float(i > 5), float(i % 2)] for i in range(N)]
    names = csv(
        table(photos, lines(lambda i: (("red | bright", "bright;old", "", "old")[i % 4],))), targets="multilabel"
    )
    assert names.classes == ["bright", "old", "red"]
    assert names.train.labels[:4].tolist() == [[1, 0, 1], [1, 1, 0], [0, 0, 0], [0, 1, 0]]


def test_without_labels(photos):
    splits = csv(table(photos, lines(lambda i: ("?",))), targets="none")
    assert splits.train.labels.tolist() == [0] * N


def test_the_fingerprint_is_that_of_content_and_labels(photos, tmp_path):
    def fingerprint(file, **options):
        return ImageDataModule.from_options(lambda: csv(file, **options), 4, targets="numbers").fingerprint

    file = table(photos, lines(lambda i: (i / 3,)))
    there = table(shutil.copytree(photos, tmp_path / "copy"), lines(lambda i: (i / 3,), ";"))
    first = fingerprint(file, targets="numbers")
    assert fingerprint(there, targets="numbers") == first
    picture(99).save(there.parent / "images" / "0.png")
    assert fingerprint(there, targets="numbers") != first
    assert fingerprint(table(photos, lines(lambda i: (i / 4,))), targets="numbers") != first


def refusal(file, **options):
    with pytest.raises(UserError) as caught:
        csv(file, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (lines(lambda i: ("tall",)), {"targets": "numbers"}, "(line 2 of labels.csv) must be a number, got 'tall'"),
        (lines(lambda i: ("nan" if i == 2 else 1,)), {"targets": "numbers"}, "(line 4 of labels.csv) must be a finite"),
        (lines(lambda i: ("1e999",)), {"targets": "numbers"}, "must be a finite number, got '1e999'"),
        (lines(lambda i: ("",)), {"targets": "numbers"}, "the label 'label' of "),
        (lines(lambda i: ("",)), {"targets": "numbers"}, "is null"),
        (lines(lambda i: ("",)), {}, "is null"),
        (lines(lambda i: (i,)), {"label_column": "lable"}, "labels.csv: there is no 'lable' as the label column"),
        (lines(lambda i: (i,)), {"label_column": "lable"}, "did you mean 'label'?"),
        (lines(lambda i: (i,)), {"image_column": "photo"}, "there is no 'photo' as the image column"),
        (lines(lambda i: (i,)), {"label_column": ["label", "label"]}, "must name different columns"),
        (lines(lambda i: (i,)), {"label_column": ["label", "file"]}, "a class is one column"),
        (lines(lambda i: (i % 3,)), {"label_column": ["label"], "targets": "multilabel"}, "must be 0 or 1, got '2'"),
        (lines(lambda i: (i,), path="{}.jpg"), {}, "line 2 of labels.csv: there is no image"),
        (lines(lambda i: (i,), path="{}.jpg"), {}, "(12 of 12 are missing)"),
        ("file,label\n,1\n", {}, "line 2 of labels.csv names no image"),
        ("file,label\nimages/0.png\n", {}, "line 2 of labels.csv has 1 values, and the first line names 2"),
        ("file,file\n", {}, "the first line must name each column once"),
        ("file,label\n", {}, "labels.csv has no line of data"),
        ("", {}, "labels.csv has no line of data"),
        ('file,label\n"images/0.png,1\n', {}, "line 2 of labels.csv is no CSV"),
        (lines(lambda i: (i, "dev"), header=("file", "label", "split")), {}, "the split 'dev' is none of train, val"),
        (lines(lambda i: (i, "test"), header=("file", "label", "split")), {}, "no line is of the split train"),
        (lines(lambda i: (i,)), {"split_column": "part"}, "there is no column 'part' of splits"),
        (
            "file,label,split\nimages/0.png,red,train\nimages/1.png,read,val\n",
            {"targets": "multilabel"},
            "(line 3 of labels.csv) is no label of the training split; did you mean 'red'?",
        ),
        ("file,label,split\nimages/0.png,a,train\nimages/1.png,b,val\n", {}, "'b', which is no class of the training"),
    ],
)
def test_what_is_refused(photos, text, options, message):
    assert message in refusal(table(photos, text), **options)


def test_files_that_are_refused(photos, tmp_path):
    assert "is no text in UTF-8" in refusal(table(photos, "file,größe\n", encoding="latin-1"))
    assert "holds no train.csv" in refusal(tmp_path)
    assert "cannot be read" in refusal(tmp_path / "none.csv")
    for name in ("val.csv", "valid.csv", "train.csv"):
        table(tmp_path, "file,label\n", name)
    assert "two files for one split" in refusal(tmp_path)
