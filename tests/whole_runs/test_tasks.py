"""Tasks from the command line on images of files: several labels, numbers, and a task from outside the repository."""

import io
import json
import re

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet as pq
from safetensors.torch import load_file
from sklearn.datasets import load_digits

from distill.utils.errors import Interrupted
from jobs import ROOT, command, run_job, stop_at

N = 300
TASKS = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
SHORT = ("model=resnet8", "teacher=resnet14", "trainer.max_epochs=2", "teacher.recipe.max_epochs=2")
FACTS = {
    "even": lambda digit: digit % 2 == 0,
    "large": lambda digit: digit > 4,
    "prime": lambda digit: digit in (2, 3, 5, 7),
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Digits as files beside ``labels.csv``, and in ``train.parquet``."""
    folder, digits = tmp_path_factory.mktemp("digits"), load_digits()
    (folder / "images").mkdir()
    table: dict[str, list] = {name: [] for name in ("image", "file", "digit", "brightness", "tags", *FACTS)}
    for i in range(N):
        picture = Image.fromarray((digits.images[i] * 255 / 16).round().astype(np.uint8))
        picture.save(folder / "images" / f"{i}.png")
        content, digit = io.BytesIO(), int(digits.target[i])
        picture.save(content, "PNG")
        facts = {name: int(holds(digit)) for name, holds in FACTS.items()}
        tags = "|".join(name for name, holds in facts.items() if holds)
        row = (content.getvalue(), f"images/{i}.png", digit, float(digits.images[i].mean()), tags, *facts.values())
        for column, value in zip(table.values(), row, strict=True):
            column.append(value)
    pq.write_table(pa.table(table), folder / "train.parquet")
    rows = zip(*(values for name, values in table.items() if name != "image"), strict=True)
    header = [name for name in table if name != "image"]
    (folder / "labels.csv").write_text("".join(";".join(map(str, row)) + "\n" for row in (header, *rows)))
    return folder


def arguments(place, kind, label, task, *more):
    root = place / "labels.csv" if kind == "csv" else place
    image = "file" if kind == "csv" else "image"
    data = (f"data={kind}", f"data.root={root}", f"data.image={image}", f"data.label={label}", "data.source.channels=1")
    return (*data, f"task={task}", *SHORT, "data.augment.flip=false", *more)


def test_numbers_of_a_csv_file(place, tmp_path):
    run = arguments(place, "csv", "brightness", "regression", "trainer.max_epochs=4")
    report = run_job(tmp_path / "run", *run)
    data = report["data"]
    numbers = load_digits().images[:N].mean((1, 2))
    assert (data["classes"], data["class_names"], data["targets"]) == (1, ["brightness"], "numbers")
    assert data["target_mean"][0] == pytest.approx(numbers.mean(), abs=numbers.std() / 5)
    assert report["task"]["score"] == "rmse"
    test = report["student"]["best"]["test"]
    assert 0 < test["mae"] <= test["rmse"] < numbers.std()
    assert test["r2"] > 0.1
    weights = load_file(tmp_path / "run" / "student.safetensors")
    assert [len(value) for name, value in weights.items() if name.endswith(("fc.weight", "fc.bias"))] == [1, 1]


def test_several_numbers_of_a_parquet_file(place, tmp_path):
    report = run_job(tmp_path / "run", *arguments(place, "parquet", "[digit,brightness]", "regression"))
    assert report["data"]["class_names"] == ["digit", "brightness"]
    assert len(report["data"]["target_std"]) == 2


def test_columns_and_names_are_the_same_labels(place, tmp_path):
    columns = run_job(tmp_path / "csv", *arguments(place, "csv", "[even,large,prime]", "multilabel"))
    names = run_job(tmp_path / "parquet", *arguments(place, "parquet", "tags", "multilabel"))
    assert columns["data"]["class_names"] == names["data"]["class_names"] == list(FACTS)
    for split in ("val", "test"):
        scores = [run["student"]["last"][split] for run in (columns, names)]
        assert scores[0] == pytest.approx(scores[1])
    test = columns["student"]["last"]["test"]
    assert 0.3 < test["map"] <= 1
    assert {"f1", "agreement"} <= test.keys()


def test_classes_of_a_csv_file(place, tmp_path):
    report = run_job(tmp_path / "run", *arguments(place, "csv", "digit", "classification"))
    assert report["data"]["class_names"] == [str(digit) for digit in range(10)]
    assert report["student"]["last"]["test"]["acc"] > 0.15


def test_stopped_and_continued_with_a_kept_teacher_and_its_cache(place, tmp_path, monkeypatch):
    run = arguments(place, "csv", "brightness", "regression", "cache.enabled=true", "data.augment.crop_padding=0")
    whole = run_job(tmp_path / "whole", *run)
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        stop_at(patch, 15)
        run_job(tmp_path / "stopped", *run)
    again = run_job(tmp_path / "stopped", *run, f"resume={tmp_path / 'stopped'}")
    assert again["resumed"]
    (whole_cache,), (cache,) = whole["student"]["teacher_cache"], again["student"]["teacher_cache"]
    assert (whole_cache["found"], cache["found"], cache["begun"]) == (0, 1, 1)  # without augmentation one epoch is all
    assert cache["folder"] == whole_cache["folder"]
    one, other = (load_file(tmp_path / name / "student.safetensors") for name in ("whole", "stopped"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_sweep_of_numbers(place, tmp_path):
    run = arguments(place, "csv", "brightness", "regression", "kd.alpha=0,0.5", "seed=0,1", "threads=1")
    done = command("-m", *run, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = [json.loads(path.read_text()) for path in tmp_path.glob("outputs/**/summary.json")]
    rmse = {(run["config"]["kd"]["alpha"], run["seed"]): run["student"]["best"]["val"]["rmse"] for run in results}
    assert len(rmse) == 4
    assert "4 of 4 jobs finished" in done.stdout
    mean = {alpha: (rmse[alpha, 0] + rmse[alpha, 1]) / 2 for alpha in (0, 0.5)}
    assert f"best on validation: kd.alpha={min(mean, key=mean.get)}" in done.stdout


@pytest.mark.parametrize(
    ("kind", "label", "task", "message"),
    [
        ("csv", "tags", "regression", "(line 2 of labels.csv) must be a number"),
        ("csv", "brigtness", "regression", "did you mean 'brightness'?"),
        ("parquet", "[digit]", "multilabel", "must be 0 or 1"),
        ("parquet", "[even,large]", "classification", "a class is one column"),
    ],
)
def test_labels_that_do_not_fit_are_one_line(place, tmp_path, kind, label, task, message):
    done = command(*arguments(place, kind, label, task), cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_task_of_the_docs_from_outside_the_repository(tmp_path):
    for match in re.finditer(r"```(?:python|yaml)\n# (\S+\.(?:py|yaml))\n(.*?)```", TASKS, re.DOTALL):
        path = tmp_path / match.group(1)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(match.group(2))
    assert "python train.py --config-dir my_conf task=grades\n" in TASKS
    done = command("--config-dir", "my_conf", "task=grades", *SHORT, "data.subset=300", "threads=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(next(tmp_path.glob("outputs/2*/*/summary.json")).read_text())
    assert (report["task"]["name"], report["task"]["score"]) == ("grades", "mae")
    test = report["student"]["best"]["test"]
    assert 0 <= 1 - test["acc"] <= test["mae"] < 9
