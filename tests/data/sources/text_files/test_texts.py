import sys

import pytest

from distill.data.sources import texts
from distill.utils.errors import UserError
from text_helpers import write_jsonl

ROWS = [{"text": "x", "label": "a"}, {"text": "y", "label": "b"}]


def test_files_called_as_splits(tmp_path):
    for name in ("train.jsonl", "validation.jsonl", "test.jsonl", ".train.jsonl", "notes.txt"):
        write_jsonl(tmp_path / name, ROWS)
    splits = texts(tmp_path)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (2, 2, 2)
    assert splits.test.name(0) == "line 1 of test.jsonl"


def test_files_that_are_called_as_no_split_are_named_once(tmp_path, caplog):
    for name in ("train.jsonl", "tset.jsonl", "more.jsonl", "notes.txt", "classes.json"):
        write_jsonl(tmp_path / name, ROWS)
    assert texts(tmp_path).test is None
    (message,) = [record.getMessage() for record in caplog.records]
    assert message == f"{tmp_path}: passed over: more.jsonl, tset.jsonl; did you mean test by tset.jsonl?"
    caplog.clear()
    for name in ("tset.jsonl", "more.jsonl"):
        (tmp_path / name).unlink()
    texts(tmp_path)
    assert not caplog.records


@pytest.mark.parametrize("targets", ["classes", "none"])
def test_a_folder_without_texts(tmp_path, targets):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.md").write_text("x")
    with pytest.raises(UserError, match=r"holds no texts: neither train\.jsonl, train\.csv, .* nor \.txt files[^;]*$"):
        texts(tmp_path, targets=targets)
    write_jsonl(tmp_path / "reviews.jsonl", ROWS)
    with pytest.raises(UserError, match=r"; it holds reviews\.jsonl: name that file, or call it train$"):
        texts(tmp_path, targets=targets)


def test_classes_go_by_their_names_in_every_split(tmp_path):
    write_jsonl(tmp_path / "train.jsonl", ROWS)
    write_jsonl(tmp_path / "test.jsonl", ROWS[1:])
    assert texts(tmp_path).test.labels.tolist() == [1]
    write_jsonl(tmp_path / "test.jsonl", [{"text": "x", "label": "c"}])
    with pytest.raises(UserError, match="the label of line 1 of test.jsonl is 'c', which is no class of the training"):
        texts(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["train.jsonl", "train.csv"], "holds train.csv and train.jsonl, two files for one split"),
        (["val.jsonl", "dev.jsonl", "train.jsonl"], "holds dev.jsonl and val.jsonl, two files for one split"),
        (["test.jsonl"], "holds test.jsonl and no train file: add it$"),
        (["test.jsonl", "trian.jsonl"], r"no train file: add it; did you mean train by trian\.jsonl\?"),
    ],
)
def test_files_that_do_not_fit(tmp_path, files, message):
    for name in files:
        write_jsonl(tmp_path / name, ROWS)
    with pytest.raises(UserError, match=message):
        texts(tmp_path)


def test_a_pair_in_one_split_only(tmp_path):
    write_jsonl(tmp_path / "train.jsonl", ROWS)
    write_jsonl(tmp_path / "test.jsonl", [{"sentence1": "x", "sentence2": "y", "label": "a"}])
    with pytest.raises(UserError, match="line 1 of train.jsonl has one text, and line 1 of test.jsonl a pair of them"):
        texts(tmp_path)


def test_files_that_are_not_there(tmp_path):
    write_jsonl(tmp_path / "reviews.jsonl", ROWS)
    with pytest.raises(UserError, match=r"there is no file or folder .*review\.jsonl .* did you mean 'reviews\.jsonl'"):
        texts(tmp_path / "review.jsonl")
    (tmp_path / "t.docx").write_text("x")
    with pytest.raises(UserError, match=r"t\.docx: data\.root= takes files whose names end in \.jsonl, \.json"):
        texts(tmp_path / "t.docx")
    write_jsonl(tmp_path / "array.json", ['[{"text": "x"}]'])
    with pytest.raises(UserError, match="array.json is a JSON array"):
        texts(tmp_path / "array.json")


def test_a_file_without_its_ending_is_no_data_set_of_the_hub(tmp_path, monkeypatch):
    def load_splits(*_):
        raise UserError("data.root=reviews: the data set cannot be loaded")

    write_jsonl(tmp_path / "reviews.jsonl", ROWS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.modules["distill.data.sources.text_files.hub"], "load_splits", load_splits)
    with pytest.raises(UserError, match=r"cannot be loaded; did you mean 'reviews\.jsonl'\?$"):
        texts("reviews")


def test_a_data_set_of_the_hub(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    monkeypatch.setattr(
        sys.modules["distill.data.sources.text_files.hub"],
        "load_splits",
        lambda *_: (
            {
                "train": datasets.Dataset.from_dict({"sentence": ["x", "y"], "label": [1, 0]}, features, split="train"),
                "test": datasets.Dataset.from_dict({"sentence": ["z"], "label": [-1]}, features, split="test"),
            },
            {},
        ),
    )
    splits = texts("owner/name")
    assert splits.classes == ["no", "yes"]
    assert (splits.train.text(1), splits.train.labels.tolist()) == ("y", [1, 0])
    assert splits.train.name(1) == "row 2 of the split train"
    assert splits.test is None
