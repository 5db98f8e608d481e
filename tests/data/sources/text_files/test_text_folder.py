import pytest

from distill.data.sources import texts
from distill.utils.errors import UserError


def write(root, **files):
    for name, text in files.items():
        path = root / (name.replace("__", "/") + ".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def found(dataset):
    return [dataset.text(row) for row in range(len(dataset))]


def test_a_folder_per_class(tmp_path):
    root = write(tmp_path, ham__1="good\nday", ham__sub__2="hello", spam__1="buy", spam__2=b"\xef\xbb\xbfnow")
    (root / "ham" / ".hidden.txt").write_text("x")
    splits = texts(root)
    assert splits.classes == ["ham", "spam"]
    assert found(splits.train) == ["good\nday", "hello", "buy", "now"]
    assert splits.train.labels.tolist() == [0, 0, 1, 1]
    assert splits.train.name(1) == splits.train.places.file_line(1) == f"{root}/ham/sub/2.txt"
    unlabelled = texts(root, targets="none")
    assert sorted(found(unlabelled.train)) == sorted(found(splits.train))


def test_splits_above_the_classes(tmp_path):
    root = write(tmp_path, train__a__1="x", train__b__1="y", test__a__1="z", test__b__1="w")
    splits = texts(root)
    assert (found(splits.train), splits.val, found(splits.test)) == (["x", "y"], None, ["z", "w"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b" \n", "the text is empty"),
        (b"one\ncaf\xe9\n", r"the text is no UTF-8 \(byte 0xe9 in its line 2; .*\)"),
        (b"a\0", "the text holds a NUL character"),
        (bytes(range(256)), "it is no text file"),
        ("ab".encode("utf-16"), "it is text in UTF-16: save it as UTF-8, or set data.source.encoding=utf-16"),
    ],
)
def test_a_broken_file_is_named_or_left_out(tmp_path, caplog, content, message):
    root = write(tmp_path, a__1="x", a__2=content, b__1="y")
    with pytest.raises(UserError, match=f"a/2.txt: {message}; data.on_broken=skip leaves such files out"):
        texts(root)
    assert found(texts(root, on_broken="skip").train) == ["x", "y"]
    assert "1 broken files left out" in caplog.text


def test_another_encoding(tmp_path):
    root = write(tmp_path, a__1="café".encode("latin-1"), b__1="x")
    assert found(texts(root, encoding="latin-1").train) == ["café", "x"]


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({"a__1": "x"}, {}, r"holds one class folder only \(a\): at least 2 are needed"),
        ({"only": "x"}, {}, "holds no class folders"),
        ({"a__1": "x", "b__1": "y"}, {"targets": "numbers"}, "holds no train.jsonl, train.csv.* a folder per class is"),
        ({"a__1": "x", "b__1": "y"}, {"targets": "tokens"}, "train.parquet or train.conll"),
        ({"train__a__1": "x", "train__b__1": "y", "test__a__1": "z"}, {}, "other class folders than train: it lacks b"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, files, options, message):
    with pytest.raises(UserError, match=message):
        texts(write(tmp_path, **files), **options)
