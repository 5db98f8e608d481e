"""python evaluate.py on other texts: formats of files, columns, encodings, broken lines."""

import csv

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.evaluation.data import OtherData, other_data
from distill.evaluation.runs import Run
from distill.utils.errors import UserError
from text_helpers import write_jsonl
from text_runs import other, rows, score, student

pytestmark = pytest.mark.slow


def test_every_format_of_files(text_run, tmp_path):
    folder, made = text_run("classification"), rows("classification", 24)
    expected = score(other(folder, tmp_path / "0", write_jsonl(tmp_path / "a.jsonl", made)), "classification")
    for name, separator in {"b.csv": ",", "c.tsv": "\t"}.items():
        with (tmp_path / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, ["label", "text"], delimiter=separator)
            writer.writeheader()
            writer.writerows(made)
    names = pa.array([row["label"] for row in made]).dictionary_encode()
    pq.write_table(pa.table({"text": [row["text"] for row in made], "label": names}), tmp_path / "d.parquet")
    for number, row in enumerate(made):
        (tmp_path / "e" / row["label"]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "e" / row["label"] / f"{number}.txt").write_text(row["text"])
    write_jsonl(tmp_path / "f" / "train.jsonl", [{"text": "fast", "label": "cat"}, {"text": "slow", "label": "dog"}])
    write_jsonl(tmp_path / "f" / "test.jsonl", made)
    for name in ("b.csv", "c.tsv", "d.parquet", "e", "f"):
        found = other(folder, tmp_path / name[0] / "out", tmp_path / name)
        assert found["samples"] == 24
        assert score(found, "classification") == pytest.approx(expected)
    tagged = rows("tokens", 24)
    lines = ["".join(f"{w}\t{t}\n" for w, t in zip(r["tokens"], r["tags"], strict=True)) for r in tagged]
    (tmp_path / "g.conll").write_text("\n".join(lines))
    one = other(text_run("tokens"), tmp_path / "h", tmp_path / "g.conll")
    two = other(text_run("tokens"), tmp_path / "i", write_jsonl(tmp_path / "j.jsonl", tagged))
    assert student(one)["metrics"] == student(two)["metrics"]


def test_columns_that_are_called_otherwise(text_run, tmp_path):
    made = rows("classification", 24)
    renamed = [{"body": row["text"], "text": "slow", "kind": row["label"], "label": "bird"} for row in made]
    path = write_jsonl(tmp_path / "renamed.jsonl", renamed)
    expected = other(text_run("classification"), tmp_path, write_jsonl(tmp_path / "same.jsonl", made))
    found = other(text_run("classification"), tmp_path, path, text="body", label="kind")
    assert student(found)["confusion"] == student(expected)["confusion"]
    numbers = [{"text": row["text"], "stars": row["score"]} for row in rows("regression", 24)]
    path = write_jsonl(tmp_path / "numbers.jsonl", numbers)
    found = other(text_run("regression"), tmp_path, path, label=["stars"])
    assert found["classes"] == ["score"]
    with pytest.raises(UserError, match=r"there is no 'score' as the label column \(label\)"):
        other(text_run("regression"), tmp_path, path)


def test_files_in_an_encoding(text_run, tmp_path):
    """That of the training files, or the one that is named; of a table without a first line of names as in training."""
    made = [{"text": row["text"] + " ÿ", "label": row["label"]} for row in rows("classification", 12)]
    expected = other(text_run("classification"), tmp_path, write_jsonl(tmp_path / "same.jsonl", made))
    lines = [f"{row['label']},{row['text']}\n" for row in made]
    (tmp_path / "old.csv").write_text("label,text\n" + "".join(lines), encoding="cp1252")
    with pytest.raises(UserError, match=r"the text is no UTF-8 \(byte 0xff; encoding= names another\)"):
        other(text_run("classification"), tmp_path, tmp_path / "old.csv")
    named = other(text_run("classification"), tmp_path, tmp_path / "old.csv", encoding="cp1252")
    assert student(named)["confusion"] == student(expected)["confusion"]
    (tmp_path / "bare.csv").write_text("".join(lines), encoding="cp1252")
    run = Run(text_run("classification"))
    run.settings.data.source.update(encoding="cp1252", columns=["label", "text"])
    found = other_data(run, OtherData("text", str(tmp_path / "bare.csv"), "test")).loaded.splits["test"].dataset
    assert [found.text(row) for row in range(len(found))] == [row["text"] for row in made]


def test_broken_lines_are_left_out_where_asked(text_run, tmp_path):
    path = write_jsonl(tmp_path / "broken.jsonl", [*rows("classification", 8), {"text": "", "label": "cat"}, "{"])
    with pytest.raises(
        UserError, match=r"data=text: line 9 of broken\.jsonl: the text is empty; on_broken=skip leaves"
    ):
        other(text_run("classification"), tmp_path, path)
    assert other(text_run("classification"), tmp_path, path, on_broken="skip")["samples"] == 8
