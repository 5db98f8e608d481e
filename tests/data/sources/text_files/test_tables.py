import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from distill.data.sources import texts
from distill.utils.errors import UserError


def write(path, columns, metadata=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    pq.write_table(table.replace_schema_metadata(metadata) if metadata else table, path)
    return path


def test_columns_of_any_type_of_text(tmp_path):
    words = ["x", "y", "x"]
    for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        root = write(tmp_path / "t.parquet", {"text": pa.array(words, pa.string()).cast(kind), "label": [1, 0, 1]})
        splits = texts(root)
        assert [splits.train.text(i) for i in range(3)] == words
        assert splits.classes == ["0", "1"]
        assert splits.train.name(2) == "row 3 of t.parquet"
        assert splits.train.places.file_line(2) is None


def test_names_of_whole_numbers(tmp_path):
    features = b'{"info": {"features": {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}}}}'
    write(
        tmp_path / "data" / "train-00000-of-00002.parquet",
        {"text": ["x", "y"], "label": [1, 0]},
        {"huggingface": features},
    )
    write(tmp_path / "data" / "train-00001-of-00002.parquet", {"text": ["z"], "label": [1]}, {"huggingface": features})
    write(tmp_path / "data" / "test-00000-of-00001.parquet", {"text": ["t"], "label": [-1]}, {"huggingface": features})
    splits = texts(tmp_path)
    assert splits.classes == ["neg", "pos"]
    assert splits.train.labels.tolist() == [1, 0, 1]
    assert splits.train.name(2) == "row 1 of train-00001-of-00002.parquet"
    assert splits.test is None


def test_words_and_tags(tmp_path):
    features = b'{"info": {"features": {"ner_tags": {"feature": {"names": ["O", "B-x"], "_type": "ClassLabel"}}}}}'
    columns = {"tokens": [["a", "b"], ["c"]], "ner_tags": [[0, 1], [0]]}
    splits = texts(write(tmp_path / "t.parquet", columns, {"huggingface": features}), targets="tokens")
    assert splits.classes == ["O", "B-x"]
    assert splits.train.tags.tolist() == [0, 1, 0]
    with pytest.raises(UserError, match="row 1 of t.parquet: there are 2 words and 1 tags"):
        texts(write(tmp_path / "t.parquet", {"tokens": [["a", "b"]], "ner_tags": [[0]]}), targets="tokens")
    with pytest.raises(UserError, match="column 'tokens' holds string, not lists of words"):
        texts(write(tmp_path / "t.parquet", {"tokens": ["a b"], "ner_tags": [[0]]}), targets="tokens")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["x", None, "z"], "the text is null"),
        ((["x", "y", "z"], ["a", None, "a"]), "the label is null"),
        ((["x", "y", "z"], ["a", "", "a"]), "the label is empty"),
        (["x", " ", "z"], "the text is empty"),
        (["x", "a\0", "z"], "the text holds a NUL character"),
        ([b"x", b"caf\xe9", b"z"], r"the text is no UTF-8 \(byte 0xe9; .*\)"),
    ],
)
def test_a_broken_row_is_named_or_left_out(tmp_path, caplog, values, message):
    values, labels = values if isinstance(values, tuple) else (values, ["a", "b", "a"])
    array = pa.array(values)
    if isinstance(values[0], bytes):
        array = pa.Array.from_buffers(pa.string(), 3, array.buffers())
    root = write(tmp_path / "t.parquet", {"text": array, "label": labels})
    with pytest.raises(UserError, match=f"^row 2 of t.parquet: {message}; data.on_broken=skip"):
        texts(root)
    splits = texts(root, on_broken="skip")
    assert [splits.train.text(i) for i in range(2)] == ["x", "z"]
    assert splits.train.labels.tolist() == [0, 0]
    assert "t.parquet: 1 broken rows left out" in caplog.text


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"text": [1], "other": ["x"], "label": [1]},
            "column 'text' holds int64, not texts; set data.text= to one of other",
        ),
        ({"text": ["x"], "label": [None]}, "row 1 of t.parquet: the label is null; data.on_broken=skip"),
        ({"text": pa.array([], pa.string()), "label": pa.array([], pa.int64())}, "t.parquet holds no row of data"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, columns, message):
    with pytest.raises(UserError, match=message):
        texts(write(tmp_path / "t.parquet", columns))


def test_a_file_that_is_no_parquet(tmp_path):
    (tmp_path / "t.parquet").write_text("x")
    with pytest.raises(UserError, match="cannot be read as parquet"):
        texts(tmp_path / "t.parquet")
