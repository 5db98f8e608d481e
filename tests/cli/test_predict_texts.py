"""predict.py on real files of texts: right answers in the order of the input, what is no text reported by its line."""

import csv
import io
import json
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import distill
from distill.cli import predict
from distill.cli.predict import Options
from distill.data.sources.text_files.rows import Choices
from distill.data.text.preprocess import TextPreprocess
from distill.evaluation.predict.text_files import read_texts
from distill.evaluation.predict.texts import described
from distill.utils.errors import UserError
from jobs import ROOT
from text_helpers import write_jsonl
from text_runs import rows

slow = pytest.mark.slow
TEXTS = TextPreprocess("unused", 16)
PAIRS = TextPreprocess("unused", 16, pairs=True)
WORDS = TextPreprocess("unused", 16, words=True)


def run(capsys, *inputs, **keys):
    capsys.readouterr()  # what was printed in training
    status = predict.predict(Options(inputs=[str(f) for f in inputs], **keys))
    printed = capsys.readouterr()
    return status, printed.out, printed.err


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
        (2, "the text is empty"), (3, "the text is empty"), (5, "the text is no UTF-8 (byte 0xff)")
    ]  # fmt: skip
    stdin = read("-", stdin=[b"one\n", b"\xfe\n"])
    assert described(stdin[0]) == {"file": "stdin", "line": 1, "text": "one"}
    assert errors(stdin) == [(2, "the text is no UTF-8 (byte 0xfe)")]


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
        with pytest.raises(UserError, match=r"is text in UTF-16: save it as UTF-8$"):
            read(tmp_path / name)
    (tmp_path / "b.txt").write_bytes(binary)
    assert errors(read(tmp_path)) == [(None, "it is text in UTF-16: save it as UTF-8"), (None, "it is no text file")]
    (tmp_path / "c.csv").write_text("a,a\nx,y\n")
    with pytest.raises(UserError, match="each once, got a, a$"):
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
    assert errors(samples) == [(4, "the word 1 is no UTF-8 (byte 0xff)")]
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


@slow
def test_csv_of_classes(text_run, tmp_path, capsys):
    folder = text_run("classification")
    made = [*(row["text"] for row in rows("classification", 12)), "", "cat"]
    (tmp_path / "in.txt").write_text("".join(f"{text}\n" for text in made))
    status, out, err = run(capsys, tmp_path / "in.txt", run=str(folder), batch_size=5, top=2)
    found = list(csv.DictReader(io.StringIO(out)))
    assert status == 3
    assert f"in.txt:13: the text is empty\n1 of {len(made)} texts could not be read" in err
    assert [row["text"] for row in found] == made
    assert [int(row["line"]) for row in found] == list(range(1, len(made) + 1))
    good = [row for row in found if not row["error"]]
    expected = distill.load(folder).predict([row["text"] for row in good])
    assert [row["class"] for row in good] == [name for name, _ in expected]
    assert [float(row["probability"]) for row in good] == pytest.approx([p for _, p in expected], abs=1e-5)
    assert [row["class"] for row in found[:12]] == [row["label"] for row in rows("classification", 12)]
    assert [float(row["probability"]) + float(row["probability_2"]) for row in good] == pytest.approx([1] * len(good))


@slow
def test_pairs_as_json(text_run, capsys):
    folder = text_run("pairs")
    status, out, _ = run(capsys, folder.with_suffix(".jsonl"), run=str(folder), format="json")
    found, made = json.loads(out), rows("pairs")
    assert status == 0
    assert [(row["text"], row["text_pair"]) for row in found] == [(r["sentence1"], r["sentence2"]) for r in made]
    expected = distill.load(folder).predict([(row["sentence1"], row["sentence2"]) for row in made])
    assert [row["predictions"][0]["class"] for row in found] == [name for name, _ in expected]
    with pytest.raises(UserError, match="text 2 must be a pair of texts"):
        distill.load(folder).predict([("a", "b"), "ab"])


@slow
def test_tags_of_words(text_run, tmp_path, capsys):
    folder, made = text_run("tokens"), rows("tokens", 8)
    long = "the cat " * 40
    (tmp_path / "in.txt").write_text("".join(" ".join(row["tokens"]) + "\n" for row in made) + long)
    status, out, _ = run(capsys, tmp_path / "in.txt", run=str(folder))
    found = list(csv.DictReader(io.StringIO(out)))
    assert status == 0
    assert [row["tags"].split() for row in found[:-1]] == [row["tags"] for row in made]
    cut = found[-1]["tags"].split()
    assert len(cut) == 80
    assert "-" not in cut[:14]  # the run's 16 tokens, two of them special
    assert set(cut[14:]) == {"-"}
    _, out, _ = run(capsys, tmp_path / "in.txt", run=str(folder), format="json")
    entries = json.loads(out)
    assert [(p["word"], p["tag"]) for p in entries[0]["predictions"]] == [
        *zip(made[0]["tokens"], made[0]["tags"], strict=True)
    ]
    assert entries[-1]["predictions"][-1] == {"word": "cat", "tag": None}
    model = distill.load(folder)
    assert model.predict([made[0]["tokens"], " ".join(made[1]["tokens"])]) == [
        [*zip(row["tokens"], row["tags"], strict=True)] for row in made[:2]
    ]


@slow
def test_labels_numbers_and_embeddings(text_run, tmp_path, capsys):
    (tmp_path / "in.txt").write_text("the cat sat on the mat\nthe dog ran on the tree fast\n")
    _, out, _ = run(capsys, tmp_path / "in.txt", run=str(text_run("multilabel")))
    header, *found = csv.reader(io.StringIO(out))
    assert header == ["file", "line", "text", "labels", "cat", "fast", "tree", "error"]
    assert [row[3] for row in found] == ["cat", "fast|tree"]
    _, out, _ = run(capsys, tmp_path / "in.txt", run=str(text_run("regression")))
    found = list(csv.DictReader(io.StringIO(out)))
    assert float(found[0]["score"]) + 3 < float(found[1]["score"]) < 30
    _, out, _ = run(capsys, tmp_path / "in.txt", run=str(text_run("embedding")), format="json")
    assert [len(entry["predictions"][0]["embedding"]) for entry in json.loads(out)] == [32, 32]


@slow
def test_mistakes(text_run, distilled, tmp_path):
    def fails(**keys):
        with pytest.raises(UserError) as caught:
            predict.predict(Options(**{"run": str(text_run("classification")), "inputs": [str(tmp_path)], **keys}))
        return str(caught.value)

    assert fails().endswith("no .txt files in this folder")
    assert fails(text_pair="b") == "text_pair=b names the second text of a pair: set text= too"
    assert fails(run=str(distilled), text="a") == "text= names a column of texts, and the run is of images"
    assert fails(run=str(text_run("embedding"))).startswith("format=csv has a column per value")
    assert fails(top=3) == "top=3: the model knows 2 classes"


@slow
def test_stdin_and_markup(text_run):
    done = subprocess.run(
        [sys.executable, ROOT / "predict.py", f"run={text_run('classification')}", "-", "format=json"],
        input=b'<b>the "cat"</b>, a\n', capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    (entry,) = json.loads(done.stdout)
    assert (entry["file"], entry["line"], entry["text"]) == ("stdin", 1, '<b>the "cat"</b>, a')
