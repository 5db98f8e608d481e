"""Runs of numbers and of several labels, from the command line: trained, evaluated, predicted, exported, swept."""

import ast
import csv
import json
import re
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score, root_mean_squared_error

from jobs import command, script

SOURCE = """
import torch
from sklearn.datasets import load_digits
from distill.data import Splits, TensorImages

def pixels():
    return torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 16

def numbers():
    digit = torch.tensor(load_digits().target, dtype=torch.float32)
    return Splits(TensorImages(pixels(), torch.stack([10 * digit + 5, 100 * pixels().mean((1, 2, 3))], 1)),
                  classes=["age", "light"])

def several():
    digit = torch.tensor(load_digits().target)
    labels = torch.stack([digit % 2 == 0, digit > 4], 1).float()
    return Splits(TensorImages(pixels(), labels), classes=["even", "above four"])
"""
SHORT = ("teacher=resnet14", "trainer.max_epochs=2", "teacher.recipe.max_epochs=4", "threads=1", "logger=csv", "code=.",
         "data.augment.flip=false")  # fmt: skip
JOBS = {"regression": "numbers", "multilabel": "several"}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of each task, with three images to predict for."""
    path = tmp_path_factory.mktemp("tasks")
    (path / "own_data.py").write_text(SOURCE)
    (path / "images").mkdir()
    for i in range(3):
        Image.fromarray((load_digits().images[i] * 15.9375).astype("uint8")).save(path / f"images/{i}.png")
    for task, source in JOBS.items():
        data = (f"data.source._target_=own_data.{source}", f"data.name={source}")
        done = command(f"task={task}", *data, *SHORT, f"hydra.run.dir={task}", cwd=path)
        assert done.returncode == 0, done.stderr
    return path


def run(name, *arguments, cwd):
    done = script(name, *arguments, "trust=own_data", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def summary(folder, task):
    return json.loads((folder / task / "summary.json").read_text())


def student(folder, task):
    results = summary(folder, task)["student"]
    return results["best"] or results["last"]


def test_the_closing_table_shows_the_tasks_metrics(folder):
    assert summary(folder, "regression")["task"]["score"] == "rmse"
    assert {"rmse", "mae", "r2", "pearson", "spearman", "teacher_rmse"} <= set(student(folder, "regression")["test"])
    assert {"map", "f1", "agreement"} <= set(student(folder, "multilabel")["test"])
    assert not {"acc", "top5"} & {*student(folder, "regression")["test"], *student(folder, "multilabel")["test"]}


def test_the_best_epoch_is_that_of_the_smallest_error(folder):
    with next((folder / "regression/csv").glob("version_*/metrics.csv")).open() as file:
        errors = [float(row["val/rmse"]) for row in csv.DictReader(file) if row.get("val/rmse")]
    assert student(folder, "regression")["epoch"] == int(np.argmin(errors)) + 1


@pytest.mark.parametrize("task", JOBS)
def test_evaluation_gives_the_runs_numbers_again(folder, task):
    out = run("evaluate", f"run={task}", cwd=folder)
    assert "equal to the run's own summary.json" in out
    found = json.loads((folder / task / "evaluation.json").read_text())
    score = summary(folder, task)["task"]["score"]
    assert found["models"]["student"]["metrics"][score] == student(folder, task)["test"][score]
    page = (folder / task / "report.html").read_text()
    assert ("Predicted over true" in page) == (task == "regression")
    assert ("even, average precision" in page) == (task == "multilabel")


def test_predictions_are_in_the_units_of_the_data(folder):
    rows = list(csv.DictReader(run("predict", "run=regression", "images", cwd=folder).splitlines()))
    assert [row["file"] for row in rows] == [f"images/{i}.png" for i in range(3)]
    assert all(-40 < float(row["age"]) < 140 for row in rows)
    found = json.loads(run("predict", "run=multilabel", "images", "format=json", cwd=folder))
    (first,) = found[0]["predictions"]
    assert first["labels"] == [name for name in ("even", "above four") if first[name] > 0.5]


def said_by_the_card(export):
    """What the lines of a model card print of the picture that they make."""
    lines = re.findall(r"```python\n(.*?)```", (export / "README.md").read_text(), re.DOTALL)
    (code,) = [each for each in lines if "onnxruntime" in each]
    done = subprocess.run([sys.executable, "-c", code], cwd=export, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ast.literal_eval(done.stdout)


def test_the_onnx_file_has_the_runs_score(folder):
    run("export", "run=regression", "format=onnx", "output=numbers", "seconds=0", cwd=folder)
    session = onnxruntime.InferenceSession(folder / "numbers/model.onnx")
    targets = json.loads((folder / "numbers/preprocess.json").read_text())["targets"]
    run("export", "run=multilabel", "format=onnx", "output=labels", "seconds=0", cwd=folder)
    rows = json.loads((folder / "numbers/export.json").read_text())["rows"]
    assert all(
        row["score"] == pytest.approx(student(folder, "regression")["test"]["rmse"], rel=1e-4) for row in rows[1:]
    )
    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)
    (output,) = session.run(None, {"images": images})
    age = output[:, 0] * targets["std"][0] + targets["mean"][0]
    assert root_mean_squared_error(10.0 * digits.target + 5, age) < 30
    session_of_labels = onnxruntime.InferenceSession(folder / "labels/model.onnx")
    (logits,) = session_of_labels.run(None, {"images": images})
    assert average_precision_score(digits.target % 2 == 0, logits[:, 0]) > 0.8
    black = {"images": np.zeros((1, 1, 8, 8), np.float32)}
    numbers = session.run(None, black)[0][0] * targets["std"] + targets["mean"]
    assert said_by_the_card(folder / "numbers") == pytest.approx(numbers, rel=1e-4)
    found = zip(("even", "above four"), session_of_labels.run(None, black)[0][0], strict=True)
    assert said_by_the_card(folder / "labels") == [name for name, logit in found if logit > 0]


def test_a_sweep_chooses_the_smallest_error(folder):
    data = ("data.source._target_=own_data.numbers", "data.name=numbers")
    done = command("-m", "task=regression", *data, *SHORT, "trainer.max_epochs=1", "kd.alpha=0,0.5", "seed=0,1",
                   "hydra.sweep.dir=grid", cwd=folder)  # fmt: skip
    assert done.returncode == 0, done.stderr
    with (folder / "grid/results.csv").open() as file:
        rows = list(csv.DictReader(file))
    means = {alpha: np.mean([float(r["val_rmse"]) for r in rows if r["kd.alpha"] == alpha]) for alpha in ("0", "0.5")}
    assert f"best on validation: kd.alpha={min(means, key=means.get)}" in done.stdout
    assert "test RMSE, best setting" in (folder / "grid/report.html").read_text()


def test_what_is_for_distributions_over_classes_is_refused(folder):
    for arguments, message in {
        ("cache.top_k=1",): "cache.top_k keeps the largest logits of a softmax, and task=multilabel has none",
        ("kd.standardize=true",): "standardize=true makes every row of two logits alike",
    }.items():
        data = ("data.source._target_=own_data.several", "data.name=several", *SHORT)
        done = command("task=multilabel", *data, *arguments, cwd=folder)
        assert done.returncode == 1
        assert message in done.stderr


def test_mistakes_are_one_line(folder):
    for arguments, message in {
        ("kd=kd",): "term 'kd' cannot be used with task=regression: it compares distributions over classes",
        ("task.score=acc",): "task.score=acc: regression has no such metric",
        ("kd.label_smoothing=0.1",): "label_smoothing is for classes",
    }.items():
        data = ("data.source._target_=own_data.numbers", "data.name=numbers", "code=.")
        done = command("task=regression", *data, *arguments, cwd=folder)
        assert done.returncode == 1
        assert message in done.stderr
        assert "training teacher" not in done.stdout
        assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(("task", "label"), [("regression", "light,age"), ("multilabel", "even,above four")])
def test_other_images_with_their_labels(folder, task, label):
    names = label.split(",")
    digits, lines = load_digits(), [f"file,{label}"]
    for i in range(3):
        digit, light = int(digits.target[i]), 100 * float(digits.images[i].mean() / 16)
        values = {"age": 10 * digit + 5, "light": light, "even": int(digit % 2 == 0), "above four": int(digit > 4)}
        lines.append(",".join([f"images/{i}.png", *(str(values[name]) for name in names)]))
    (folder / f"{task}.csv").write_text("\n".join(lines) + "\n")
    given = ("data=csv", f"root={task}.csv", "image=file", *([f"label=[{label}]"] if task == "multilabel" else []))
    run("evaluate", f"run={task}", *given, cwd=folder)
    found = json.loads((folder / task / f"evaluation-csv-{task}-test.json").read_text())
    answers = json.loads(run("predict", f"run={task}", "images", "format=json", cwd=folder))
    metrics = found["models"]["student"]["metrics"]
    assert found["samples"] == 3
    if task == "regression":
        errors = [answers[i]["predictions"][0]["age"] - (10 * int(digits.target[i]) + 5) for i in range(3)]
        assert found["models"]["student"]["by_output"]["RMSE"][0] == pytest.approx(
            np.mean(np.square(errors)) ** 0.5, rel=0.05
        )
    else:
        assert 0 <= metrics["map"] <= 1
        assert found["hardest"][0]["file"].startswith("images/")
