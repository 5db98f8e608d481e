"""python compare.py: the table, the page, mistakes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from distill.cli.compare import Options, compare
from distill.cli.evaluate import Options as Evaluate, evaluate
from distill.evaluation.compare.entries import Entry, labels, strategy_of
from distill.evaluation.compare.table import cells, columns_of
from distill.tasks.info import TaskInfo
from distill.tasks.regression import Regression
from distill.training.summary import EpochScores, Scores
from distill.utils.errors import UserError
from summaries import student, summary


def test_runs_side_by_side(distilled, alone, tmp_path, capsys):
    copy = tmp_path / "evaluated"
    shutil.copytree(distilled, copy)
    evaluate(Evaluate(run=str(copy), report=False))
    ece = json.loads((copy / "evaluation.json").read_text())["models"]["student"]["ece"]
    page = tmp_path / "compare.html"
    capsys.readouterr()
    compare(Options(runs=[str(copy), str(alone)], output=str(page)))
    out = capsys.readouterr()
    for said in ("evaluated", "alone", "CE + kd", "CE alone", f"{100 * ece:.2f} %", "agreement", f"page: {page}"):
        assert said in out.out
    assert "warning" not in out.err
    text = page.read_text()
    for section in ("table", "bars", "curves", "commands"):
        assert f'<section id="{section}">' in text
    assert f"{100 * ece:.2f} %" in text
    assert "not evaluated" in text
    compare(Options(runs=[str(copy), str(alone)], output=str(page)))  # over its own page


def test_runs_of_another_task_show_its_metrics():
    task, kd = TaskInfo("regression", "rmse", Regression.metric_infos), {"terms": {"output": {}}, "alpha": 0.1}
    one = student(last=EpochScores(9, "student.safetensors", Scores(rmse=2.0), Scores(rmse=2.5, mae=1.5, r2=0.25)))
    run = summary({"kd": kd}, student=one, task=task)
    row = dict(zip(columns_of(task), cells(Entry("run", Path(), run, one, None)), strict=True))
    assert (row["RMSE"], row["MAE"], row["R²"], row["loss"]) == ("2.5", "1.5", "0.25", "labels + output")
    unlabelled = replace(run, data=replace(run.data, targets="none"))
    assert strategy_of(unlabelled) == "output"


def test_other_data_are_said(distilled, alone, tmp_path, capsys):
    copy = tmp_path / "other"
    shutil.copytree(alone, copy)
    report = json.loads((copy / "summary.json").read_text())
    report["data"]["fingerprint"] = "0"
    (copy / "summary.json").write_text(json.dumps(report))
    compare(Options(runs=[str(distilled), str(copy)], output=str(tmp_path / "c.html")))
    line = "augmentation): their scores may not be comparable"
    said = capsys.readouterr().err
    assert said.startswith("warning: the runs differ in data ")
    assert line in said
    assert line in (tmp_path / "c.html").read_text()


def test_brackets_in_a_folders_name_are_shown(distilled, alone, tmp_path, capsys):
    """A sweep calls its folders after its overrides, and a terminal's markup has brackets too."""
    folder = tmp_path / "kd=[kd,sp],x=[bold]"
    shutil.copytree(distilled, folder, ignore=shutil.ignore_patterns("checkpoints"))
    compare(Options(runs=[str(folder), str(alone)], output=str(tmp_path / "c.html")))
    assert "kd=[kd,sp],x=[bold]" in capsys.readouterr().out.partition("python")[0].splitlines()[2]


def test_many_runs_get_a_page(distilled, tmp_path):
    folders = []
    for i in range(12):
        folders.append(tmp_path / str(i))
        shutil.copytree(distilled, folders[-1], ignore=shutil.ignore_patterns("checkpoints"))
    compare(Options(runs=[str(folder) for folder in folders], output=str(tmp_path / "c.html")))
    assert "The other 2 runs are left out." in (tmp_path / "c.html").read_text()


def test_mistakes(distilled, alone, tmp_path):
    both = [str(distilled), str(alone)]
    mine = tmp_path / "mine.html"
    mine.write_text("<p>mine</p>")
    (tmp_path / "broken").mkdir()
    for name in ("summary.json", "student.safetensors"):
        shutil.copy(distilled / name, tmp_path / "broken" / name)
    (tmp_path / "broken" / "evaluation.json").write_text("{")
    for options, message in (
        (Options(runs=both[:1]), "give two runs or more to compare, got 1"),
        (Options(runs=[both[0], both[0]]), "is given twice"),
        (Options(runs=[both[0], str(distilled / "student.safetensors")]), "compared by their folders, got the file"),
        (Options(runs=[both[0], str(tmp_path / "gone")]), "does not exist"),
        (Options(runs=[both[0], str(tmp_path)]), "is no run's folder"),
        (Options(runs=both, output=str(mine)), "mine.html exists and was not written by this command"),
        (Options(runs=both, output="page.txt"), "output must be a .html file, got page.txt"),
        (Options(runs=[both[0], str(tmp_path / "broken")], output=str(tmp_path / "c.html")), "is not what evaluate.py"),
    ):
        with pytest.raises(UserError, match=message):
            compare(options)
    assert mine.read_text() == "<p>mine</p>"


def test_labels_tell_paths_apart(tmp_path):
    assert labels([tmp_path / "a" / "1", tmp_path / "b" / "1", tmp_path / "b" / "2"]) == ["a/1", "b/1", "b/2"]
