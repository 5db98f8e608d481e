"""predict.py on files of texts: right answers in the order of the input, for runs of every task on texts."""

import csv
import io
import json
import os
import subprocess
import sys

import pytest

import distill
from distill.cli import predict
from distill.cli.predict import Options
from distill.utils.errors import UserError
from jobs import ROOT
from text_runs import rows

slow = pytest.mark.slow


def run(capsys, *inputs, **keys):
    capsys.readouterr()  # what was printed in training
    status = predict.predict(Options(inputs=[str(f) for f in inputs], **keys))
    printed = capsys.readouterr()
    return status, printed.out, printed.err


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
    assert fails(encoding="klingon").startswith("encoding=klingon is unknown; allowed: utf-8")
    assert fails(run=str(distilled), encoding="utf-8") == "encoding= is the encoding of texts, and the run is of images"


@slow
def test_stdin_and_markup(text_run):
    done = subprocess.run(
        [sys.executable, ROOT / "predict.py", f"run={text_run('classification')}", "-", "format=json"],
        input=b'<b>the "cat"</b>, a\n', capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    (entry,) = json.loads(done.stdout)
    assert (entry["file"], entry["line"], entry["text"]) == ("stdin", 1, '<b>the "cat"</b>, a')
