import logging

import pytest

from distill.data.sources import texts
from distill.utils.errors import UserError
from text_helpers import write_jsonl

GOOD = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(6)]


def found(dataset):
    return [dataset.text(row) for row in range(len(dataset))]


def test_columns_by_name_and_by_choice(tmp_path):
    root = write_jsonl(tmp_path / "t.jsonl", [{"id": 1, "Review": "x é", "target": 3}, {"Review": "y", "target": 1}])
    splits = texts(root)
    assert found(splits.train) == ["x é", "y"]
    assert splits.classes == ["1", "3"]
    assert splits.train.labels.tolist() == [1, 0]
    assert splits.train.name(1) == "line 2 of t.jsonl"
    assert splits.train.places.file_line(1) == f"{root}:2"
    root = write_jsonl(tmp_path / "c.jsonl", [{"a": "x", "b": "y", "text": "z", "c": True}] * 2 + [{"a": "", "c": 0}])
    splits = texts(root, text="a", text_pair="b", label="c", on_broken="skip")
    assert splits.train.text(0) == ("x", "y")
    assert splits.classes == ["True"]


@pytest.mark.parametrize(
    "names",
    [("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("text_a", "text_b")],
)
def test_pairs_are_found(tmp_path, names):
    root = write_jsonl(tmp_path / "t.jsonl", [{names[0]: "x", names[1]: "y", "label": 0}] * 2)
    assert texts(root).train.text(1) == ("x", "y")
    assert texts(root, text=names[1]).train.text(1) == "y"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "x", "label": "a"', r"no JSON: Expecting ',' delimiter \(column 27\)"),
        ('{"a":' * 100_000, "no JSON: nested too deeply"),
        ("[1]", r"no JSON object, but a list \(\[1\]\)"),
        ("5", r"no JSON object, but a number \(5\)"),
        ('{"label": "a"}', "it has no text"),
        ('{"text": null, "label": "a"}', "the text is null"),
        ('{"text": ["x"], "label": "a"}', r"the text is a list \(\['x'\]\), not text"),
        ('{"text": 12, "label": "a"}', r"the text is a number \(12\), not text"),
        ('{"text": true, "label": "a"}', r"the text is a truth value \(True\), not text"),
        ('{"text": "x", "label": null}', "the label is null"),
        ('{"text": "x", "label": " "}', "the label is empty"),
        ('{"text": "x"}', "it has no label"),
        ('{"text": "x", "label": "a", "text": "y"}', "the key 'text' stands in it twice"),
        ('{"text": " \\n\\t\u2003", "label": "a"}', "the text is empty"),
        ('{"text": "a\\u0000b", "label": "a"}', "the text holds a NUL character"),
        ('{"text": "a\\nb\\u0000c", "label": "a"}', "the text holds a NUL character in its line 2"),
        ('{"text": "a\\ud83d", "label": "a"}', r"the text holds half of a surrogate pair \(U\+D83D\)"),
        ('{"text": "x", "label": "a\\u0000"}', "the label holds a NUL character"),
        (b'{"text": "caf\xe9", "label": "a"}', r"the text is no UTF-8 \(byte 0xe9; .*\)"),
        (b'{"text": "caf\0", "label": "a"}', "no JSON: Invalid control character"),
    ],
)
@pytest.mark.parametrize("place", [0, 3])
def test_a_broken_line_is_named_or_left_out(tmp_path, caplog, line, message, place):
    root = write_jsonl(tmp_path / "t.jsonl", GOOD)
    lines = root.read_bytes().splitlines()
    lines.insert(place, line if isinstance(line, bytes) else line.encode("utf-8", "surrogatepass"))
    root.write_bytes(b"\r\n".join(lines))
    if line == "[1]" and place == 0:
        message = "is a JSON array: a file of JSON lines holds an object in each line"
    elif line[:1] not in ("[", b"["):
        message = f"^line {place + 1} of t.jsonl: {message}.*; data.on_broken=skip leaves such lines out$"
    with pytest.raises(UserError, match=message) as caught:
        texts(root)
    assert "\n" not in str(caught.value)
    if place or line != "[1]":
        with caplog.at_level(logging.WARNING):
            splits = texts(root, on_broken="skip")
        assert found(splits.train) == [f"text {i}" for i in range(6)]
        assert f"t.jsonl: 1 broken line left out (line {place + 1} of t.jsonl: " in caplog.text
        assert splits.train.name(5) == "line 7 of t.jsonl"


def test_columns_are_the_keys_of_the_first_objects_and_not_of_the_first_alone(tmp_path):
    rows = [{"text": "new"}, {"text": "x", "label": "a", "split": "test"}, *({**row, "split": "train"} for row in GOOD)]
    root = write_jsonl(tmp_path / "t.jsonl", rows)
    with pytest.raises(UserError, match="^line 1 of t.jsonl: it has no label; data.on_broken=skip"):
        texts(root)
    splits = texts(root, on_broken="skip")
    assert found(splits.train) == [f"text {i}" for i in range(6)]
    assert found(splits.test) == ["x"]
    write_jsonl(tmp_path / "both" / "train.jsonl", GOOD)
    write_jsonl(tmp_path / "both" / "test.jsonl", [{"text": "new"}, *GOOD])
    with pytest.raises(UserError, match="^line 1 of test.jsonl: it has no label"):  # and not: the split has no labels
        texts(tmp_path / "both")


def test_byte_order_marks_and_empty_lines(tmp_path):
    root = write_jsonl(tmp_path / "t.jsonl", GOOD)
    root.write_bytes(b"\xef\xbb\xbf" + root.read_bytes().replace(b"\n", b"\r\n\r\n  \r\n"))
    splits = texts(root)
    assert found(splits.train) == [f"text {i}" for i in range(6)]
    assert splits.train.name(1) == "line 4 of t.jsonl"
    root.write_text(root.read_text(encoding="utf-8-sig"), encoding="utf-16")
    with pytest.raises(
        UserError, match="t.jsonl is text in UTF-16: save it as UTF-8, or set data.source.encoding=utf-16"
    ):
        texts(root)
    assert found(texts(root, encoding="utf-16").train) == [f"text {i}" for i in range(6)]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([], {}, "t.jsonl holds no line of data"),
        (["nonsense"], {"on_broken": "skip"}, "t.jsonl holds no line of data: all are broken"),
        (GOOD, {"text": "texts"}, r"there is no 'texts' as the text column \(data.text\); did you mean 'text'\?"),
        (GOOD, {"text": "text", "text_pair": "other"}, r"no 'other' as the text_pair column \(data.text_pair\)"),
        (GOOD, {"text_pair": "text"}, "data.text_pair=text names the second text of a pair: set data.text= too"),
        (GOOD, {"label": "labl"}, r"no 'labl' as the label column \(data.label\); did you mean 'label'\?"),
        ([{"words here": "x", "label": 1}], {}, "no column could be taken for the text column; set data.text= to one"),
        ([{"text": "x", "y": 1}], {}, "no column could be taken for the label column; set data.label= to one of y$"),
        ([{"text": "x"}], {}, "t.jsonl has no labels, nothing but text: add a column, or set task=embedding"),
        (GOOD, {"targets": "tokens"}, "task=tokens reads a list of words and a list of tags in each row"),
        (
            [{"tokens": "a b", "tags": ["O", "O"]}],
            {"targets": "tokens"},
            r"the tokens must be a list of words, got text \('a b'\)",
        ),
        ([*GOOD, {"text": "x", "label": [1]}], {}, r"the label of line 7 of t.jsonl must be a whole number or text"),
        (
            [*GOOD, {"text": "x", "label": 0.5}],
            {},
            r"must be a whole number or text, got 0.5; task=regression learns numbers$",
        ),
        (GOOD, {"targets": "numbers"}, "the label 'label' of line 1 of t.jsonl must be a number, got 'a'"),
        (GOOD, {"on_broken": "ignore"}, "data.on_broken must be error or skip, got 'ignore'"),
        (GOOD, {"encoding": "latin-0"}, "data.source.encoding=latin-0 is unknown; allowed: utf-8, utf-16, latin-1"),
        (GOOD, {"split_column": "part"}, "there is no column 'part' of splits"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, rows, options, message):
    root = write_jsonl(tmp_path / "t.jsonl", rows)
    with pytest.raises(UserError, match=message) as caught:
        texts(root, **options)
    assert "\n" not in str(caught.value)


def test_numbers_and_several_labels(tmp_path):
    rows = [{"text": "x", "score": 0.5, "tags": ["a", "b"]}, {"text": "y", "score": "2", "tags": []}]
    root = write_jsonl(tmp_path / "t.jsonl", rows)
    assert texts(root, targets="numbers").train.labels.tolist() == [[0.5], [2.0]]
    splits = texts(root, label="tags", targets="multilabel")
    assert splits.classes == ["a", "b"]
    assert splits.train.labels.tolist() == [[1, 1], [0, 0]]
    assert texts(root, targets="none").train.labels.tolist() == [0, 0]


def test_a_key_that_is_not_read_may_stand_twice_and_an_empty_text_may_name_no_label(tmp_path):
    root = write_jsonl(
        tmp_path / "t.jsonl", ['{"text": "x", "tags": "a|b", "id": 1, "id": 2}', '{"text": "y", "tags": ""}']
    )
    splits = texts(root, label="tags", targets="multilabel", on_broken="skip")
    assert splits.train.labels.tolist() == [[1, 1], [0, 0]]
    with pytest.raises(UserError, match="line 2 of t.jsonl: the tags is empty"):
        texts(root, label=["tags"], targets="multilabel")


def test_blanks_around_labels_are_said(tmp_path, caplog):
    root = write_jsonl(tmp_path / "t.jsonl", [*GOOD, {"text": "x", "label": " a"}, {"text": "y", "label": "b\t"}])
    assert texts(root).classes == ["a", "b"]
    assert "blanks around 2 labels of the column label are left out (' a')" in caplog.text


def test_many_rows_are_kept_in_order(tmp_path):
    root = write_jsonl(tmp_path / "t.jsonl", [{"text": f"text {i}", "label": i % 12} for i in range(20_000)])
    splits = texts(root)
    assert [splits.train.text(i) for i in (0, 8191, 8192, 19_999)] == [f"text {i}" for i in (0, 8191, 8192, 19_999)]
    assert splits.classes == [str(i) for i in range(12)]
    assert splits.train.labels[11].item() == 11
