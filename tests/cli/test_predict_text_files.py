"""What predict.py reads of files of texts: each text by its line, the columns, and what is no text with the reason."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.data.sources.text_files.rows import Choices
from distill.data.text.preprocess import TextPreprocess
from distill.evaluation.predict.text_files import read_texts
from distill.evaluation.predict.texts import described
from distill.utils.errors import UserError
from text_helpers import write_jsonl

TEXTS = TextPreprocess("unused", 16)
PAIRS = TextPreprocess("unused", 16, pairs=True)
WORDS = TextPreprocess("unused", 16, words=True)


def read(path, preprocess=TEXTS, trained=(), stdin=(), **given):
    files = read_texts([str(path)], stdin, preprocess, Choices(**given), Choices(*trained))
    found = [sample for file in files for sample in file.samples()]
    assert len(found) == sum(map(len, files))
    return found


def texts(samples):
    return [(sample.line, sample.text) for sample in samples if sample.error is None]


def errors(samples):
    return [(sample.line, sample.error) for sample in samples if sample.error is not None]


def test_a_text_per_line(tmp_path):
    (tmp_path / "in.txt").write_bytes(b"\xef\xbb\xbfone cat\r\n\n  \ntwo\tcats\n\xff\nlast")
    samples = read(tmp_path / "in.txt")
    assert texts(samples) == [(1, "one cat"), (4, "two\tcats"), (6, "last")]
    assert errors(samples) == [
        (2, "the text is empty"),
        (3, "the text is empty"),
        (5, "the text is no UTF-8 (byte 0xff; encoding= names another)"),
    ]
    stdin = read("-", stdin=[b"one\n", b"\xfe\n"])
    assert described(stdin[0]) == {"file": "stdin", "line": 1, "text": "one"}
    assert errors(stdin) == [(2, "the text is no UTF-8 (byte 0xfe; encoding= names another)")]


def test_pairs_have_a_tab_between(tmp_path):
    (tmp_path / "in.txt").write_text("one\ttwo\nthree\n\tfour\na\tb\tc\n")
    samples = read(tmp_path / "in.txt", PAIRS)
    assert texts(samples) == [(1, ("one", "two"))]
    assert errors(samples) == [
        (2, "a pair is two texts with a tab between"), (3, "the text is empty"),
        (4, "a pair is two texts with a tab between"),
    ]  # fmt: skip


def test_rows_of_tables_keep_their_lines(tmp_path):
    bad = [{"text": "one", "label": 1}, "{no json", {"text": ""}, {"text": None}, {"label": 3}, {"text": "two"}]
    samples = read(write_jsonl(tmp_path / "in.jsonl", bad))
    assert texts(samples) == [(1, "one"), (6, "two")]
    assert [line for line, _ in errors(samples)] == [2, 3, 4, 5]
    (tmp_path / "in.csv").write_text('text,label\n"one\nline",1\n,2\nthree,3,4\nfour,\n')
    samples = read(tmp_path / "in.csv")
    assert texts(samples) == [(2, "one\nline"), (6, "four")]
    assert [line for line, _ in errors(samples)] == [4, 5]
    pq.write_table(pa.table({"review": ["one", "", None, "four"]}), tmp_path / "in.parquet")
    samples = read(tmp_path / "in.parquet")
    assert texts(samples) == [(1, "one"), (4, "four")]
    assert errors(samples) == [(2, "the review is empty"), (3, "the review is null")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\ud83d x", r"the text holds half of a surrogate pair \(U\+D83D\)"),
        ("caf\udce9", r"the text is no UTF-8 \(byte 0xe9\)"),
        ("a\0", "the text holds a NUL character"),
    ],
)
def test_what_no_tokenizer_takes_is_said_as_for_files(text, message):
    for preprocess, samples in (
        (TEXTS, ["x", text]),
        (PAIRS, [("x", "y"), ("x", text)]),
        (WORDS, [["x"], ["x", text]]),
    ):
        with pytest.raises(UserError, match=f"^text 2: {message}$"):
            preprocess.checked(samples)


def test_only_broken_rows_are_no_error_of_the_file(tmp_path):
    path = write_jsonl(tmp_path / "in.jsonl", [{"text": ""}, {"text": " "}])
    assert errors(read(path)) == [(1, "the text is empty"), (2, "the text is empty")]


def test_an_open_quote_is_an_error_of_the_file(tmp_path):
    (tmp_path / "in.csv").write_text('text,label\n,1\n"two,2\nthree,3\n')
    with pytest.raises(UserError, match="a quote opened in line 3 is never closed"):
        read(tmp_path / "in.csv")


def test_files_that_are_no_text_or_in_another_encoding(tmp_path):
    binary = bytes(range(256)) * 40
    for name in ("a.txt", "a.csv", "a.jsonl"):
        (tmp_path / name).write_bytes(binary)
        with pytest.raises(UserError, match=r"a\.\w+ is no text file$"):
            read(tmp_path / name)
        (tmp_path / name).write_text("text\nx\n", encoding="utf-16")
        with pytest.raises(UserError, match=r"is text in UTF-16: save it as UTF-8, or set encoding=utf-16$"):
            read(tmp_path / name)
    (tmp_path / "b.txt").write_bytes(binary)
    assert errors(read(tmp_path)) == [
        (None, "it is text in UTF-16: save it as UTF-8, or set encoding=utf-16"), (None, "it is no text file")
    ]  # fmt: skip
    (tmp_path / "c.csv").write_text("a,a\nx,y\n")
    with pytest.raises(UserError, match="name each column once, got a, a$"):
        read(tmp_path / "c.csv")


def test_columns_are_those_of_training_then_found_by_name_then_asked_for(tmp_path):
    path = write_jsonl(tmp_path / "in.jsonl", [{"body": "b", "odd": "o", "text": "t"}])
    assert texts(read(path)) == [(1, "t")]
    assert texts(read(path, trained=["odd"])) == [(1, "o")]
    assert texts(read(path, trained=["elsewhere"])) == [(1, "t")]
    assert texts(read(path, trained=["odd"], text="body")) == [(1, "b")]
    assert texts(read(path, PAIRS, text="body", text_pair="odd")) == [(1, ("b", "o"))]
    with pytest.raises(UserError, match=r"in\.jsonl has one text in each row, and the run is of pairs: set text="):
        read(path, PAIRS)
    pairs = write_jsonl(tmp_path / "pairs.jsonl", [{"premise": "p", "hypothesis": "h"}])
    assert texts(read(pairs, PAIRS)) == [(1, ("p", "h"))]
    with pytest.raises(UserError, match=r"pairs\.jsonl has pairs of texts, and the run is of single texts"):
        read(pairs)
    with pytest.raises(UserError, match="bdy") as caught:
        read(path, text="bdy")
    assert "data." not in str(caught.value)


def test_words_of_lists_texts_and_conll(tmp_path):
    sentence = (1, ["the", "cat"])
    assert texts(read(write_jsonl(tmp_path / "a.jsonl", [{"tokens": ["the", "cat"]}]), WORDS)) == [sentence]
    assert texts(read(write_jsonl(tmp_path / "b.jsonl", [{"text": "the  cat"}]), WORDS)) == [sentence]
    (tmp_path / "c.txt").write_text("the cat\n")
    assert texts(read(tmp_path / "c.txt", WORDS)) == [sentence]
    (tmp_path / "d.csv").write_text("id,text\n7,the cat\n")
    assert texts(read(tmp_path / "d.csv", WORDS)) == [(2, ["the", "cat"])]
    (tmp_path / "e.conll").write_text("-DOCSTART- O\n\nthe O\ncat B-X\n\n\na\tO\nb c\tO\n")
    assert texts(read(tmp_path / "e.conll", WORDS)) == [(3, ["the", "cat"]), (7, ["a", "b c"])]
    (tmp_path / "f.bio").write_bytes(b"the\ncat\n\n\xff\nx\n")
    samples = read(tmp_path / "f.bio", WORDS)
    assert texts(samples) == [sentence]
    assert errors(samples) == [(4, "the word 1 is no UTF-8 (byte 0xff; encoding= names another)")]
    with pytest.raises(UserError, match=r"e\.conll holds words, and the run is of texts"):
        read(tmp_path / "e.conll")


def test_a_folder_is_a_text_per_file(tmp_path, caplog):
    for name, content in {"b.txt": b"one\ntwo\n", "a/c.txt": b"three", "d.txt": b" ", "e.md": b"no"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    samples = read(tmp_path)
    assert [(sample.file, sample.text) for sample in samples if sample.error is None] == [
        (f"{tmp_path}/a/c.txt", "three"), (f"{tmp_path}/b.txt", "one\ntwo\n")
    ]  # fmt: skip
    assert errors(samples) == [(None, "the text is empty")]
    assert not caplog.records
    for name in ("f.jsonl", "a/g.csv", "h.csv"):
        (tmp_path / name).write_text("x")
    assert len(read(tmp_path)) == 3
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"{tmp_path}: passed over, as they are no .txt files: 1 .jsonl, 2 .csv; ")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "a.csv").write_text("x")
    with pytest.raises(UserError, match=r"tables: no \.txt files in this folder, but 1 \.csv: name these files"):
        read(tmp_path / "tables")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: no \.txt files in this folder"):
        read(tmp_path / "empty")


def test_files_in_an_encoding(tmp_path):
    for name in ("a.txt", "folder/b.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("café\n", encoding="cp1252")
    assert [text.strip() for _, text in texts(read(tmp_path / "folder", encoding="cp1252"))] == ["café"]
    assert texts(read(tmp_path / "a.txt", encoding="cp1252")) == [(1, "café")]
    assert errors(read(tmp_path / "folder"))[0][1].endswith("the text is no UTF-8 (byte 0xe9; encoding= names another)")
    stdin = ["café\n".encode("utf-16"), "naïve".encode("utf-16")[2:]]
    (file,) = read_texts(["-"], stdin, TEXTS, Choices(), Choices(), stdin_encoding="utf-16")
    assert texts(file.samples()) == [(1, "café"), (2, "naïve")]
    with pytest.raises(UserError, match="stdin cannot be read: .*truncated data"):
        read_texts(["-"], [stdin[0][:-1]], TEXTS, Choices(), Choices(), stdin_encoding="utf-16")


def test_one_file_that_cannot_be_read_among_others(tmp_path):
    (tmp_path / "in.txt").write_text("one\n")
    files = read_texts([str(tmp_path / "in.text"), str(tmp_path / "in.txt")], [], TEXTS, Choices(), Choices())
    (wrong,), (right,) = (file.samples() for file in files)
    assert wrong.error.endswith("in.text does not exist; did you mean 'in.txt'?")
    assert right.text == "one"
    for name, message in {"in.text": "does not exist", "in.md": "a file of texts ends in "}.items():
        (tmp_path / "in.md").write_text("one")
        with pytest.raises(UserError, match=message):
            read(tmp_path / name)
    with pytest.raises(UserError, match="no texts given"):
        read_texts([], [], TEXTS, Choices(), Choices())
