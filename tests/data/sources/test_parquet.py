import functools
import json
import os

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet as pq

from data_helpers import REAL, encoded, picture, write_parquet
from distill.data import ImageDataModule
from distill.data.sources import parquet
from distill.data.splits import check_labels
from distill.utils.errors import UserError

NAMES = ["ant", "bee", "cow"]
LABELS = [i % 3 for i in range(60)]


def test_the_hubs_layout(tmp_path):
    write_parquet(tmp_path / "train-0.parquet", LABELS[:30], NAMES)
    write_parquet(tmp_path / "train-1.parquet", LABELS[30:], NAMES)
    write_parquet(tmp_path / "test.parquet", LABELS[:6], NAMES)
    splits = parquet(str(tmp_path / "train*.parquet"), tmp_path / "test.parquet", str(tmp_path / "val*.parquet"))
    assert (len(splits.train), splits.val, len(splits.test), splits.classes) == (60, None, 6, NAMES)
    assert splits.train.labels.tolist() == LABELS
    np.testing.assert_array_equal(np.asarray(splits.train.image(37)), np.asarray(picture(7)))
    assert splits.train.name(37) == "row 7 of train-1.parquet"
    data = ImageDataModule.from_options(lambda: splits, 8)
    assert data.classes == NAMES
    assert data.example().shape == (2, 3, 12, 12)
    files = ImageDataModule.from_options(lambda: splits, 8, in_memory=False, num_workers=2)
    batch = next(iter(files.train_dataloader()))
    assert torch.equal(batch.target, torch.tensor(LABELS)[batch.index])


@pytest.mark.parametrize(("image", "label"), [("img", "label"), ("Image", "Label"), ("photo", "kind")])
def test_columns_are_found(tmp_path, image, label):
    file = write_parquet(tmp_path / "t.parquet", LABELS, NAMES, image=image, label=label)
    assert parquet(file).train.labels.tolist() == LABELS
    assert parquet([file, file], image_column=image, label_column=label).train.labels.tolist() == LABELS * 2


def test_plain_tables(tmp_path):
    table = pa.table({"image": [encoded(i, "JPEG") for i in range(9)], "label": ["b", "a", "c"] * 3})
    pq.write_table(table, tmp_path / "t.parquet")
    splits = parquet(tmp_path / "t.parquet")
    assert splits.classes == ["a", "b", "c"]
    assert splits.train.labels.tolist() == [1, 0, 2] * 3
    assert splits.train.image(0).size == (12, 12)
    pq.write_table(pa.table({"image": [encoded(0)], "label": ["d"]}), tmp_path / "test.parquet")
    with pytest.raises(UserError, match=r"row 0 of test\.parquet is 'd', which is no class of the training"):
        parquet(tmp_path / "t.parquet", tmp_path / "test.parquet")


def named(labels):
    return [NAMES[label] for label in labels]


def read_names(splits, split="train"):
    return [splits.classes[label] for label in getattr(splits, split).labels]


@pytest.mark.parametrize("kind", ["dictionary", "view"])
def test_images_as_arrow_may_keep_them(tmp_path, kind):
    images = pa.array([encoded(i % 3, "PNG") for i in range(9)])
    images = images.dictionary_encode() if kind == "dictionary" else images.cast(pa.binary_view())
    pq.write_table(pa.table({"image": images, "label": [0, 1, 2] * 3}), tmp_path / "t.parquet")
    train = parquet(tmp_path / "t.parquet").train
    np.testing.assert_array_equal(np.asarray(train.image(4)), np.asarray(picture(1)))


@pytest.mark.parametrize("names", ["abc", {"zero": "ant", "one": "bee"}, {"0": "ant", "x": "bee"}, 3, None])
def test_a_list_of_classes_that_is_none_is_no_list(tmp_path, names):
    features = {"label": {"_type": "ClassLabel", "names": names}}
    for content in (json.dumps({"info": {"features": features}}), "[" * 100_000):
        table = pa.table({"image": [encoded(i, "PNG") for i in range(6)], "label": [0, 1, 2] * 2})
        pq.write_table(table.replace_schema_metadata({"huggingface": content}), tmp_path / "t.parquet")
        splits = parquet(tmp_path / "t.parquet")
        assert splits.classes is None
        assert splits.train.labels.tolist() == [0, 1, 2] * 2


def test_names_decide_and_not_their_order_in_a_file(tmp_path):
    first = write_parquet(tmp_path / "a.parquet", LABELS, NAMES)
    other_order = ["cow", "ant", "bee"]
    other = write_parquet(tmp_path / "b.parquet", [other_order.index(name) for name in named(LABELS)], other_order)
    text = write_parquet(tmp_path / "c.parquet", named(LABELS))
    more = write_parquet(tmp_path / "d.parquet", [0, 1, 0], ["dog", "bee"])
    splits = parquet([first, other, text, more], other, text)
    assert splits.classes == [*NAMES, "dog"]
    assert read_names(splits) == named(LABELS) * 3 + ["dog", "bee", "dog"]
    assert read_names(splits, "test") == read_names(splits, "val") == named(LABELS)
    splits = parquet(text, first)
    assert (splits.classes, read_names(splits, "test")) == (NAMES, named(LABELS))


def test_numbers_without_names(tmp_path, caplog):
    listed = write_parquet(tmp_path / "a.parquet", LABELS, NAMES[::-1])
    numbers = write_parquet(tmp_path / "b.parquet", LABELS)
    for train, test in ((listed, numbers), (numbers, listed)):
        splits = parquet(train, test)
        assert splits.classes == NAMES[::-1]
        assert splits.train.labels.tolist() == splits.test.labels.tolist() == LABELS
        assert "numbers without names from row 0 of b.parquet on" in caplog.text
        caplog.clear()
    other = write_parquet(tmp_path / "c.parquet", LABELS, NAMES)
    text = write_parquet(tmp_path / "d.parquet", named(LABELS))
    messages = {
        (text, numbers): r"numbers without names from row 0 of b\.parquet on, and elsewhere they have names",
        (numbers, text): r"row 0 of d\.parquet is 'ant', which is no class of the training split",
        ((listed, other), numbers): r"numbers without names from row 0 of b\.parquet on",
        (numbers, (listed, other)): "training labels are numbers without names, and .* lists of classes differ",
        (listed, write_parquet(tmp_path / "e.parquet", [0, 3], ["ant", "bee", "cow", "dog"])): (
            r"row 1 of e\.parquet is 'dog', which is no class"
        ),
        (listed, write_parquet(tmp_path / "f.parquet", [0, -1], NAMES)): r"label -1 of row 1 of f\.parquet is out",
        (listed, write_parquet(tmp_path / "g.parquet", [0], ["ant", "ant"])): "'ant' stands twice in a list",
    }
    for (train, test), message in messages.items():
        with pytest.raises(UserError, match=message) as caught:
            splits = parquet(train, test)
            check_labels(splits)
        assert "\n" not in str(caught.value)


def test_the_hubs_folder_data(tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("train", "test"):
        write_parquet(tmp_path / "data" / f"{name}-00000-of-00001.parquet", LABELS, NAMES)
    patterns = [f"{tmp_path}/{name}*.parquet" for name in ("train", "test", "val")]
    splits = parquet(*patterns)
    assert (len(splits.train), len(splits.test), splits.val) == (60, 60, None)
    write_parquet(tmp_path / "train.parquet", LABELS[:9], NAMES)
    splits = parquet(*patterns)  # the other folder is another data set
    assert (len(splits.train), splits.test) == (9, None)


def test_brackets_in_a_folders_name(tmp_path):
    folder = tmp_path / "data [1]"
    folder.mkdir()
    for name in ("train", "test[2]"):
        write_parquet(folder / f"{name}.parquet", LABELS, NAMES)
    splits = parquet(f"{folder}/train*.parquet", f"{folder}/test[2].parquet", f"{folder}/val*.parquet")
    assert (len(splits.train), len(splits.test), splits.val) == (60, 60, None)
    with pytest.raises(UserError, match=r"no parquet file matches data\.source\.test="):
        parquet(f"{folder}/train*.parquet", f"{folder}/text.parquet")


def test_paths_beside_the_table(tmp_path):
    picture(5).save(tmp_path / "five.png")
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = pa.array([{"bytes": None, "path": "five.png"}, {"bytes": None, "path": None}], kind)
    pq.write_table(pa.table({"img": rows, "label": [0, 1]}), tmp_path / "t.parquet")
    images = parquet(tmp_path / "t.parquet").train
    np.testing.assert_array_equal(np.asarray(images.image(0)), np.asarray(picture(5)))
    with pytest.raises(Exception, match=r"row 1 of t\.parquet cannot be read: it is null"):
        images.image(1)
    assert images.identity(torch.tensor([0])) != images.identity(torch.tensor([1]))


@pytest.mark.parametrize("memory", [True, False])
def test_broken_rows_are_named(tmp_path, memory):
    contents = [encoded(i) for i in range(60)]
    contents[41] = contents[41][:60]
    file = write_parquet(tmp_path / "t.parquet", LABELS, NAMES, contents)
    with pytest.raises(UserError, match=r"row 41 of t\.parquet cannot be read"):
        ImageDataModule.from_options(functools.partial(parquet, file), 8, in_memory=memory).setup()


def test_errors(tmp_path):
    def message(*args, labels=LABELS, names=NAMES, **kwargs):
        file = write_parquet(tmp_path / "t.parquet", labels, names)
        with pytest.raises(UserError) as caught:
            ImageDataModule.from_options(functools.partial(parquet, *(args or (file,)), **kwargs), 8).setup()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no parquet file matches data.source.train=" in message(tmp_path / "none*.parquet")
    assert "no parquet file matches data.source.test=" in message(tmp_path / "t.parquet", tmp_path / "none.parquet")
    assert "there is no 'photo' as the image column (data.image); Allowed: img, label" in message(image_column="photo")
    assert "there is no 'kind' as the label column" in message(label_column="kind")
    assert "column 'label' holds int64, not encoded images" in message(image_column="label")
    assert "the label of row 4 of t.parquet is null" in message(labels=[0, 1, 2, 0, None] * 6)
    assert "label 3 of train row 5 of t.parquet is outside 0..2" in message(labels=[0, 1, 2, 0, 1, 3] * 6)
    assert "label -1 of train row 2 of t.parquet" in message(labels=[0, 1, -1] * 6)
    assert "must be a whole number or text, got 0.5" in message(labels=[0.5] * 9, names=None)
    assert "channels must be 1 or 3" in message(channels=2)
    (tmp_path / "bad.parquet").write_text("no parquet")
    assert "bad.parquet cannot be read as parquet" in message(tmp_path / "bad.parquet")
    pq.write_table(pa.table({"a": [1], "b": [2]}), tmp_path / "ab.parquet")
    assert "ab.parquet: no column could be taken for the image column" in message(tmp_path / "ab.parquet")


def test_metadata_of_other_kinds(tmp_path):
    file = write_parquet(tmp_path / "t.parquet", LABELS)
    table = pq.read_table(file)
    for metadata in (b"not json", json.dumps({"info": 3}).encode(), json.dumps({"info": {"features": []}}).encode()):
        pq.write_table(table.replace_schema_metadata({b"huggingface": metadata}), file)
        assert parquet(file).classes is None


real = pytest.mark.skipif(not REAL.is_dir(), reason=f"the shared CIFAR-10 is not at {REAL}")


@real
def test_the_shared_cifar10():
    splits = parquet(f"{REAL}/train*.parquet", f"{REAL}/test*.parquet", f"{REAL}/val*.parquet")
    assert (len(splits.train), len(splits.test), splits.val) == (50_000, 10_000, None)
    assert splits.classes[:2] == ["airplane", "automobile"]
    data = ImageDataModule.from_options(lambda: splits, 64, in_memory=False, num_workers=0, subset=500)
    assert data.num_train == 500
    assert next(iter(data.train_dataloader())).inputs.shape == (64, 3, 32, 32)


@real
@pytest.mark.slow
def test_the_whole_shared_cifar10_in_memory():
    data = ImageDataModule.from_options(
        functools.partial(parquet, f"{REAL}/train*.parquet", f"{REAL}/test*.parquet"), 64
    )
    assert data.loaded.in_memory
    assert data.num_train == 45_000
    assert data.preprocess.scaling.mean == pytest.approx((0.491, 0.482, 0.447), abs=2e-3)
    assert data.preprocess.scaling.std == pytest.approx((0.245, 0.243, 0.261), abs=2e-3)
    assert sum(len(batch.target) for batch in data.test_dataloader()) == 10_000


def test_a_pipe_is_no_table(tmp_path):
    os.mkfifo(tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r"train.parquet cannot be read as parquet: a named pipe, not a file$"):
        parquet(tmp_path / "train.parquet")


def test_text_labels_in_two_unicode_forms_are_one_class(tmp_path):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    write_parquet(tmp_path / "train.parquet", [composed, "tea"] * 4)
    write_parquet(tmp_path / "val.parquet", [decomposed, "tea"])
    splits = parquet(tmp_path / "train.parquet", val=tmp_path / "val.parquet")
    assert splits.classes == [composed, "tea"]
    assert splits.val.labels.tolist() == [0, 1]
    write_parquet(tmp_path / "numbers.parquet", [1, 0], names=["tea", decomposed])
    splits = parquet(tmp_path / "train.parquet", val=tmp_path / "numbers.parquet")
    assert splits.val.labels.tolist() == [0, 1]


def test_a_label_beyond_64_bits_is_named(tmp_path):
    labels = pa.array([1, 2**64 - 1, 0], pa.uint64())
    pq.write_table(pa.table({"image": [encoded(i) for i in range(3)], "label": labels}), tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r"row 1 of train\.parquet is 18446744073709551615: too large"):
        parquet(tmp_path / "train*.parquet")
