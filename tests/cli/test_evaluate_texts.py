"""python evaluate.py on runs of texts: the run's own numbers, and other texts in every kind of file."""

import html as html_module
import json
import logging

import numpy as np
import pytest
import torch

import distill
from distill.cli.evaluate import Options, evaluate
from distill.evaluation.runs import Run
from distill.models.outputs import Outputs
from distill.tasks.similarity import SimilarityMetrics
from distill.utils.errors import UserError
from jobs import run_job
from text_helpers import write_jsonl
from text_jobs import SHORT, write_texts
from text_runs import judged, other, rows, score, student

pytestmark = pytest.mark.slow
TASKS = ("classification", "pairs", "multilabel", "regression", "tokens")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("split", ["test", "val"])
def test_the_runs_own_numbers_come_out_again(text_run, tmp_path, task, split):
    found = judged(text_run(task), tmp_path, split=split)
    assert found["reproduced"]["equal"]
    assert found["samples"] == json.loads((text_run(task) / "summary.json").read_text())["data"][split]


@pytest.mark.parametrize("task", TASKS)
def test_the_same_texts_in_another_file_have_the_same_numbers(text_run, tmp_path, task):
    """All of the run's texts, once as its own three splits, and once as another file."""
    folder = text_run(task)
    path = write_jsonl(tmp_path / "other.jsonl", rows("pairs" if task == "pairs" else task))
    found = other(folder, tmp_path / "other", path)
    assert found["samples"] == 240
    assert found["reproduced"] is None
    parts = [judged(folder, tmp_path / "own", split=split) for split in ("train", "val", "test")]
    if task in ("classification", "pairs"):
        right = sum(score(part, task) * part["samples"] for part in parts)
        assert score(found, task) == pytest.approx(right / 240)
        per_model = [sum(each["versus"]["teacher"]["both_right"]["count"] for each in parts)]
        assert [found["versus"]["teacher"]["both_right"]["count"]] == per_model
    if task == "regression":
        mean = sum(score(part, task) ** 2 * part["samples"] for part in parts) / 240
        assert score(found, task) == pytest.approx(mean**0.5, rel=1e-4)
    assert found["hardest"][0]["file"].startswith(f"{path}:")


def test_two_tokenizers(tmp_path):
    """Student and teacher read other texts with a vocabulary each, as their own."""
    place, folder = write_texts(tmp_path, 80), tmp_path / "runs" / "two"
    models = ("teacher=hf", f"teacher.name={place / 'bert'}", "model=hf", f"model.name={place / 'other'}")
    rates = ("optimizer.lr=3e-3", "teacher.recipe.optimizer.lr=3e-3")
    run_job(folder, "data=text", f"data.root={place / 'reviews.jsonl'}", *models, *SHORT, *rates)
    parts = [judged(folder, tmp_path / "own", split=split) for split in ("train", "val", "test")]
    found = other(folder, tmp_path / "other", place / "reviews.jsonl")
    for role in ("student", "teacher"):
        confusion = sum(np.array(part["models"][role]["confusion"]) for part in parts)
        assert found["models"][role]["confusion"] == confusion.tolist()
    agreed = sum(part["versus"]["teacher"]["agreement"] * part["samples"] for part in parts)
    assert found["versus"]["teacher"]["agreement"] == pytest.approx(agreed / 80)
    alone = tmp_path / "runs" / "alone"
    run_job(alone, "data=text", f"data.root={place / 'reviews.jsonl'}", *models, *SHORT, *rates, "kd=none")
    found = other(folder, tmp_path / "other", place / "mails", against=str(alone))
    assert list(found["models"]) == ["teacher", "student", "alone"]


def test_the_numbers_are_those_of_predict(text_run, tmp_path):
    made = rows("classification", 20)
    path = write_jsonl(tmp_path / "other.jsonl", [{**row, "label": "cat"} for row in made])  # one class alone
    found = other(text_run("classification"), tmp_path, path)
    answers = [name for name, _ in distill.load(text_run("classification")).predict([row["text"] for row in made])]
    assert student(found)["acc"] == pytest.approx(answers.count("cat") / 20)
    assert [sum(row) for row in student(found)["confusion"]] == [20, 0]


def test_texts_are_cut_where_the_runs_were(text_run, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    made = [{"text": row["text"] + " fast" * 40, "label": row["label"]} for row in rows("classification", 8)]
    other(text_run("classification"), tmp_path, write_jsonl(tmp_path / "long.jsonl", made))
    assert "max_length=16 cuts 100 % of the texts" in caplog.text


@pytest.mark.parametrize(
    ("task", "row", "message"),
    [
        ("classification", {"text": "the cat", "label": "bird"},
         "the classes of data=text (3) are not those of the run (2): only there: bird; only in the run: none"),
        ("multilabel", {"text": "the cat", "label": ["bird"]}, "the labels of data=text (3) are not those of the run"),
        ("tokens", {"tokens": ["the", "cat"], "tags": ["O", "B-BIRD"]}, "only there: B-BIRD; only in the run: none"),
        ("regression", {"text": "the cat", "score": "many"}, "must be a number, got 'many'"),
        ("pairs", {"text": "the cat", "label": "cat"}, "broken.jsonl: "),
    ],
)  # fmt: skip
def test_unknown_labels_are_one_line(text_run, tmp_path, monkeypatch, task, row, message):
    monkeypatch.setattr("distill.evaluation.evaluate.predict", None)
    path = write_jsonl(tmp_path / "broken.jsonl", [*rows(task, 8), row])
    with pytest.raises(UserError) as caught:
        other(text_run(task), tmp_path, path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "data=text" in str(caught.value)


def test_evaluations_of_different_files_do_not_replace_each_other(text_run, tmp_path):
    folder, made = text_run("classification"), rows("classification", 12)
    one = write_jsonl(tmp_path / "one" / "a b.jsonl", made[:8])
    for path, count in {one: 8, write_jsonl(tmp_path / "b.jsonl", made): 12}.items():
        assert other(folder, tmp_path / "out", path)["samples"] == count
    names = ["evaluation-text-a_b-test.json", "evaluation-text-b-test.json"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert json.loads((tmp_path / "out" / names[0]).read_text())["root"] == str(one.resolve())
    same = write_jsonl(tmp_path / "two" / "a b.jsonl", made)
    with pytest.raises(UserError, match=rf"evaluation-text-a_b-test\.json is of root={one.resolve()}: choose another"):
        other(folder, tmp_path / "out", same)
    assert other(folder, tmp_path / "out", same, overwrite=True)["samples"] == 12
    assert other(folder, tmp_path / "out", same)["samples"] == 12


def test_advice_is_of_the_command(text_run, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label\nx,cat\n", encoding="utf-16")
    for options, message in {
        ("text", None): "data=text needs root=<file or folder>",
        ("csv", None): "data=csv needs root=<file or folder>",
        ("text", str(path)): f"data=text: {path} is text in UTF-16: save it as UTF-8, or set encoding=utf-16",
    }.items():
        with pytest.raises(UserError) as caught:
            judged(text_run("classification"), tmp_path, data=options[0], root=options[1])
        assert str(caught.value) == message


def test_data_of_another_kind(text_run, tmp_path):
    singles = write_jsonl(tmp_path / "singles.jsonl", rows("classification", 8))
    pairs = write_jsonl(tmp_path / "pairs.jsonl", rows("pairs", 8))
    for options, message in {
        ("classification", "imagefolder", tmp_path): "data=imagefolder holds images, and the run is of texts",
        ("classification", "text", pairs): "data=text: it has pairs of texts, and the run is of single texts",
        ("pairs", "text", singles): "data=text: it has single texts, and the run is of pairs: set text=<column>",
        ("classification", "text", tmp_path / "gone.jsonl"): "data=text: there is no file or folder",
    }.items():
        task, data, root = options
        with pytest.raises(UserError, match=message):
            judged(text_run(task), tmp_path, data=data, root=str(root))


def page(folder, output, **options):
    evaluate(Options(run=str(folder), output=str(output), map="pca", **options))
    return next(output.glob("report*.html")).read_text()


def test_embeddings(text_run, tmp_path):
    folder = text_run("embedding")
    found = judged(folder, tmp_path)
    assert found["reproduced"]["equal"]
    assert set(found["reproduced"]["values"]) == {"spearman", "knn_overlap"}
    assert found["models"]["teacher"]["metrics"]["spearman"] == pytest.approx(1)
    (tmp_path / "texts.txt").write_text("".join(f"{row['text']}\n" for row in rows("embedding", 40)))
    found = other(folder, tmp_path, tmp_path / "texts.txt")
    assert found["samples"] == 40
    distinct = {row["text"] for row in rows("embedding", 40)}
    model, teacher = distill.load(folder), Run(folder).teacher.model
    inputs = model.preprocess([row["text"] for row in rows("embedding", 40)])
    with torch.no_grad():
        metrics = SimilarityMetrics(True)
        metrics.update(Outputs(model(inputs), {}, None), Outputs(teacher(inputs), {}, None), torch.zeros(40))
    expected = {name: pytest.approx(float(value), rel=1e-3) for name, value in metrics.compute().items()}
    assert student(found)["metrics"]["spearman"] == expected["spearman"]
    hardest = found["hardest"][0]
    assert {hardest["text"], hardest["student"]["nearest"]["text"]} <= distinct
    html = page(folder, tmp_path / "page")
    assert "nearest to the teacher" in html
    assert 'id="embeddings"' in html


def test_entities(text_run, tmp_path):
    folder = text_run("tokens")
    made = rows("tokens", 24)
    wrong = [{**made[0], "tags": ["O", "B-PLACE", *made[0]["tags"][2:]]}, *made[1:]]  # of the data: the model is right
    long = {"tokens": ["the", "cat"] * 20, "tags": ["O", "B-ANIMAL"] * 20}
    path = write_jsonl(tmp_path / "wrong.jsonl", [*wrong, long])
    found = other(folder, tmp_path, path)
    entities = student(found)["by_entity"]
    assert set(entities) == {"ANIMAL", "PLACE"}
    animals = sum(tags.count("B-ANIMAL") for tags in (row["tags"] for row in wrong)) + 7  # 14 words before the cut
    assert entities["ANIMAL"]["support"] == animals
    assert entities["ANIMAL"]["precision"] < 1  # where the tag was changed
    assert entities["PLACE"]["recall"] < 1
    hardest = next(each for each in found["hardest"] if each["file"] == f"{path}:1")
    assert hardest in found["hardest"][:2]  # the long one is cut out of what the run has seen
    assert hardest["words"] == made[0]["tokens"]
    assert hardest["target"]["tags"] == wrong[0]["tags"]
    assert hardest["student"]["tags"] == made[0]["tags"]
    cut = next(each for each in found["hardest"] if each["file"] == f"{path}:25")
    assert len(cut["words"]) == len(cut["target"]["tags"]) == len(cut["student"]["tags"]) == 14
    html = page(folder, tmp_path / "page", data="text", root=str(path))
    assert "F1 by type of entity" in html
    assert f'<th scope="row">ANIMAL ({animals})</th>' in html
    assert '<tr><td>cat</td><td>B-PLACE</td><td class="wrong">B-ANIMAL</td><td class="wrong">B-ANIMAL</td></tr>' in html


def test_the_page_of_classes_shows_texts(text_run, tmp_path):
    folder = text_run("pairs")
    html = page(folder, tmp_path)
    found = json.loads((tmp_path / "evaluation.json").read_text())
    for section in ("numbers", "calibration", "differences", "embeddings", "examples"):
        assert f'<section id="{section}">' in html
    first = found["hardest"][0]
    text = html_module.escape(first["text"]).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
    assert f"<blockquote>{text}</blockquote>" in html
    assert f"student: {html_module.escape(first['student']['answer'])}" in html
    assert "&lt;b&gt;cat&lt;/b&gt;</th>" in html  # the table by class
    assert "Matthews correlation" in html
    assert -1 <= student(found)["matthews"] <= 1
    summary = json.loads((folder / "summary.json").read_text())
    kept = summary["student"]["best"] or summary["student"]["last"]
    assert student(found)["matthews"] == pytest.approx(kept["test"]["matthews"])
    assert student(found)["macro_f1"] == pytest.approx(kept["test"]["f1"])
