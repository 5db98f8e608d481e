"""Label columns of parquet files and of the hub's data sets, as the task needs them."""

import json

import pyarrow as pa
import pytest
import torch
from pyarrow import parquet as pq

from data_helpers import encoded
from distill.data.sources import parquet
from distill.utils.errors import UserError


def write(path, features=None, **columns):
    n = len(next(iter(columns.values())))
    table = pa.table({"image": [encoded(i) for i in range(n)], **columns})
    if features:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)
    return path


def read(path, label, targets, **splits):
    return parquet(path, label_column=label, targets=targets, **splits)


def test_numbers_of_any_type(tmp_path):
    file = write(tmp_path / "t.parquet", a=[1, 2], b=pa.array([0.5, -1e30], pa.float64()), c=["3", " -4.5 "])
    splits = read(file, ["c", "a", "b"], "numbers")
    assert splits.classes == ["c", "a", "b"]
    assert torch.equal(splits.train.labels, torch.tensor([[3, 1, 0.5], [-4.5, 2, -1e30]]))
    assert read(file, "a", "numbers").train.labels.tolist() == [[1], [2]]


def test_columns_go_by_their_names_in_every_file(tmp_path):
    write(tmp_path / "train-0.parquet", a=[0, 1], b=[1, 1])
    write(tmp_path / "train-1.parquet", b=[0], a=[1])
    write(tmp_path / "test.parquet", b=[True, False], a=[False, True])
    splits = read(tmp_path / "train*.parquet", ["a", "b"], "multilabel", test=tmp_path / "test.parquet")
    assert splits.train.labels.tolist() == [[0, 1], [1, 1], [1, 0]]
    assert splits.test.labels.tolist() == [[0, 1], [1, 0]]


def test_one_column_of_names(tmp_path):
    write(tmp_path / "train.parquet", label=[["red", "old"], [], ["bright"]])
    write(tmp_path / "test.parquet", label=["old; red", "bright|old"])
    splits = read(tmp_path / "train.parquet", "label", "multilabel", test=tmp_path / "test.parquet")
    assert splits.classes == ["bright", "old", "red"]
    assert splits.train.labels.tolist() == [[0, 1, 1], [0, 0, 0], [1, 0, 0]]
    assert splits.test.labels.tolist() == [[0, 1, 1], [1, 1, 0]]


def test_numbers_that_stand_for_names_differ_by_file(tmp_path):
    def features(*names):
        return {"label": {"_type": "Sequence", "feature": {"_type": "ClassLabel", "names": list(names)}}}

    write(tmp_path / "train.parquet", features("red", "old", "new"), label=[[0, 1], [1]])
    write(tmp_path / "test.parquet", features("old", "red"), label=[[0], [1]])
    splits = read(tmp_path / "train.parquet", "label", "multilabel", test=tmp_path / "test.parquet")
    assert splits.classes == ["red", "old", "new"]
    assert splits.train.labels.tolist() == [[1, 1, 0], [0, 1, 0]]
    assert splits.test.labels.tolist() == [[0, 1, 0], [1, 0, 0]]


def test_numbers_without_names_are_their_own_in_natural_order(tmp_path):
    splits = read(write(tmp_path / "t.parquet", label=[[10, 9], [9]]), "label", "multilabel")
    assert (splits.classes, splits.train.labels.tolist()) == (["9", "10"], [[1, 1], [1, 0]])


def test_names_that_are_numbers_may_be_0_and_1(tmp_path):
    assert read(write(tmp_path / "t.parquet", label=["0|1", "1", ""]), "label", "multilabel").classes == ["0", "1"]


def test_without_labels_no_column_is_needed(tmp_path):
    splits = read(write(tmp_path / "t.parquet", other=[1, 2, 3]), None, "none")
    assert (splits.train.labels.tolist(), splits.classes) == ([0, 0, 0], None)


@pytest.mark.parametrize(
    ("columns", "label", "targets", "message"),
    [
        ({"a": [1.0, None]}, "a", "numbers", "the label 'a' of row 1 of t.parquet is null"),
        ({"a": [1.0, float("nan")]}, "a", "numbers", "row 1 of t.parquet must be a finite number, got nan"),
        ({"a": [1.0, float("inf")]}, "a", "numbers", "must be a finite number, got inf"),
        ({"a": [1e39]}, "a", "numbers", "must be a finite number, got 1e\\+39"),
        ({"a": ["1_0"]}, "a", "numbers", "must be a number, got '1_0'"),
        ({"a": [[1.0]]}, "a", "numbers", r"must be a number, got \[1.0\]"),
        ({"a": [0, 2]}, ["a"], "multilabel", "the label 'a' of row 1 of t.parquet must be 0 or 1, got 2"),
        ({"a": [0, None]}, ["a"], "multilabel", "the label 'a' of row 1 of t.parquet is null"),
        ({"a": [0, 1]}, "a", "multilabel", r"the labels of row 0 .* got 0; .* data.label=\[<column>\]"),
        ({"a": [["x"], None]}, "a", "multilabel", "the labels of row 1 of t.parquet are null"),
        ({"a": [[0.5]]}, "a", "multilabel", "must be names, got 0.5 among them"),
        (
            {"a": ["0", "1"]},
            "a",
            "multilabel",
            r"the labels of the column 'a' are 0 and 1, no names: set data.label=\[a\]",
        ),
        ({"a": ["True", "true"]}, "a", "multilabel", r"set data.label=\[a\]"),
        ({"a": ["", ""]}, "a", "multilabel", "no training sample has a label"),
        ({"age": [1]}, "agge", "numbers", r"t.parquet: there is no 'agge' as the label column .*did you mean 'age'"),
        ({"age": [1]}, ["age", "size"], "numbers", "there is no 'size' as the label column"),
        ({"age": [1], "size": [1]}, ["age", "size"], "classes", r"data.label=\[age,size\]: a class is one column"),
    ],
)
def test_values_that_do_not_fit(tmp_path, columns, label, targets, message):
    with pytest.raises(UserError, match=message) as caught:
        read(write(tmp_path / "t.parquet", **columns), label, targets)
    assert "\n" not in str(caught.value)


def test_a_label_that_no_training_image_has(tmp_path):
    write(tmp_path / "train.parquet", label=["red", "old"])
    write(tmp_path / "val.parquet", label=["red", "old|rad"])
    with pytest.raises(
        UserError, match=r"'rad' of row 1 of val.parquet is no label of the training split; did you mean"
    ):
        read(tmp_path / "train.parquet", "label", "multilabel", val=tmp_path / "val.parquet")


def test_data_sets_of_the_hub(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "tags": datasets.Sequence(datasets.ClassLabel(names=["red", "old"])),
            "age": datasets.Value("float32"),
        }
    )
    rows = {
        "image": [{"bytes": encoded(i), "path": None} for i in range(3)],
        "tags": [[0, 1], [], [1]],
        "age": [1, 2, 4],
    }
    (tmp_path / "repository").mkdir()
    datasets.Dataset.from_dict(rows, features).to_parquet(tmp_path / "repository" / "train.parquet")
    from distill.data.sources import huggingface

    def load(label, targets):
        name = str(tmp_path / "repository")
        return huggingface(name, label_column=label, targets=targets, root=tmp_path / "cache")

    splits = load("tags", "multilabel")
    assert (splits.classes, splits.train.labels.tolist()) == (["red", "old"], [[1, 1], [0, 0], [0, 1]])
    assert load("age", "numbers").train.labels.tolist() == [[1], [2], [4]]
    with pytest.raises(UserError, match="row 0 of the split train"):
        load("tags", "numbers")
