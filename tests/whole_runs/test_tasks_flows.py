"""Several labels and numbers in every flow: several teachers, a chain, generations, students of each other."""

import io
import json

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet as pq
from sklearn.datasets import load_digits

from distill.cli.evaluate import Options, evaluate
from distill.utils.errors import UserError
from jobs import run_job

pytestmark = pytest.mark.slow
MEAN = "kd.ensemble={_target_:distill.distillation.ensemble.WeightedMean}"
CONFIDENCE = "kd.ensemble={_target_:distill.distillation.ensemble.ConfidenceMean}"
FLOWS = {
    "teacher_2": ("kd.teachers=[resnet8]", MEAN),
    "assistant_1": ("kd.assistants=[resnet8]",),
    "generation_1": ("kd.generations=2",),
    "peer_1": ("kd.peers=[resnet14]",),
}
LABELS = {"multilabel": "[even,large]", "regression": "[digit,light]"}
MEASURED = {"multilabel": {"map", "f1", "agreement"}, "regression": {"rmse", "r2", "teacher_rmse"}}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place, digits = tmp_path_factory.mktemp("flows"), load_digits()
    images = []
    for image in digits.images[:200]:
        content = io.BytesIO()
        Image.fromarray((image * 255 / 16).round().astype(np.uint8)).save(content, "PNG")
        images.append(content.getvalue())
    digit, light = digits.target[:200], digits.images[:200].mean((1, 2))
    columns = {"digit": digit, "light": light, "even": digit % 2 == 0, "large": (digit > 4).astype(int)}
    (place / "data").mkdir()
    pq.write_table(pa.table({"image": images, **columns}), place / "data" / "train.parquet")
    return place


def run(place, name, task, *more):
    data = ("data=parquet", f"data.root={place / 'data'}", f"data.label={LABELS[task]}", "data.source.channels=1")
    short = ("trainer.max_epochs=2", "teacher.recipe.max_epochs=1", "logger=none", "data.augment.flip=false")
    return run_job(place / task / name, f"task={task}", *data, *short, "model=resnet8", "teacher=resnet14", *more)


@pytest.mark.parametrize("task", LABELS)
@pytest.mark.parametrize("role", FLOWS)
def test_a_flow_of_another_task(place, task, role):
    report = run(place, role, task, *FLOWS[role])
    assert role in report
    kept = report["student"]["best"] or report["student"]["last"]
    assert MEASURED[task] <= kept["test"].keys()
    assert all(np.isfinite(value) for value in kept["test"].values())
    output = place / task / role / "evaluated"
    evaluate(Options(run=str(place / task / role), output=str(output), map="none"))
    found = json.loads(next(output.glob("evaluation*.json")).read_text())
    assert found["reproduced"]["equal"]
    assert MEASURED[task] <= found["reproduced"]["values"].keys()


def test_confidence_is_in_the_labels_and_not_in_numbers(place):
    report = run(place, "confidence", "multilabel", "kd.teachers=[resnet8]", CONFIDENCE)
    assert report["student"]["last"]["test"]["map"] > 0.3
    with pytest.raises(
        UserError, match=r"^kd.ensemble: ConfidenceMean combines distributions over classes, and task=r"
    ):
        run(place, "refused", "regression", "kd.teachers=[resnet8]", CONFIDENCE)
