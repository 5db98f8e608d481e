"""``task=embedding`` from the command line to files for elsewhere, on digits without labels."""

import json
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits

import distill
from distill.cli.evaluate import Options, evaluate
from distill.utils.errors import UserError
from jobs import ROOT, command, run_job

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """400 digits as PNGs without class folders, 300 others in class folders, and a teacher's weights."""
    place = tmp_path_factory.mktemp("place")
    images, labels = load_digits(return_X_y=True)
    for i in range(700):
        name = f"{'photos' if i < 400 else f'labelled/{labels[i]}'}/{i}.png"
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((images[i].reshape(8, 8) * 15).astype(np.uint8)).resize((32, 32)).save(place / name)
    torch.manual_seed(0)
    teacher = timm.create_model("resnet10t", num_classes=1000, in_chans=1)
    save_file(teacher.state_dict(), place / "teacher.safetensors")
    return place


def keys(place, **others):
    values = {
        "task": "embedding", "data": "imagefolder", "data.root": place / "photos", "data.source.channels": 1,
        "teacher": "timm", "teacher.name": "resnet10t", "teacher.preprocess": "false",
        "teacher.checkpoint": place / "teacher.safetensors",
        "model": "timm", "model.name": "test_resnet", "trainer.max_epochs": 2, "logger": "csv", "optimizer.lr": 0.05,
        **others,
    }  # fmt: skip
    return [f"{key}={value}" for key, value in values.items()]


@pytest.fixture(scope="module")
def done(place):
    folder = place / "runs/first"
    report = run_job(folder, *keys(place, **{"task.probe": place / "labelled", "kd": "[embedding,dense,rkd]"}))
    return folder, report


def test_what_is_measured(done):
    _, report = done
    student, teacher = report["student"]["last"]["test"], report["teacher"]["test"]
    assert {"embedding", "dense", "rkd", "loss", "spearman", "knn_overlap"} <= set(student)
    assert "hard" not in student
    assert teacher["spearman"] == pytest.approx(1)
    assert 0 < student["spearman"] < 1
    kept = report["student"].get("best", report["student"]["last"])["test"]
    assert {"knn", "probe", "random_knn", "random_probe"} <= set(kept)
    assert {"knn", "probe"} <= set(teacher)
    assert teacher["probe"] > 0.5  # even random weights tell digits apart
    assert report["data"]["classes"] == 0


def test_the_backbone_loads_into_timm_as_pretrained_weights_do(done):
    folder, _ = done
    weights = load_file(folder / "student.safetensors")
    images = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        expected = distill.load(folder)(images)
        backbone = timm.create_model("test_resnet", num_classes=0, in_chans=1).eval()
        backbone.load_state_dict(weights)
        assert torch.allclose(backbone(images), expected, atol=1e-5)  # another memory format
    classifier = timm.create_model("test_resnet", num_classes=10, in_chans=1)
    loaded = classifier.load_state_dict(weights, strict=False)
    assert set(loaded.missing_keys) == {"fc.weight", "fc.bias"}
    assert not loaded.unexpected_keys


def script(name, *arguments):
    return subprocess.run([sys.executable, ROOT / name, *arguments], capture_output=True, text=True, check=False)


def test_it_is_exported_and_predicts(done, place):
    folder, _ = done
    run = script("export.py", f"run={folder}", "format=onnx,safetensors", "seconds=0")
    assert run.returncode == 0, run.stderr
    report = json.loads((folder / "export/export.json").read_text())
    assert {row["file"] for row in report["rows"] if row["file"]} == {"model.onnx", "model.safetensors"}
    assert all(row["difference"] < 1e-4 for row in report["rows"] if row["file"])
    assert "num_classes=0" in (folder / "export/README.md").read_text()
    run = script("predict.py", f"run={folder}", str(place / "photos/0.png"), "format=json")
    assert run.returncode == 0, run.stderr
    (found,) = json.loads(run.stdout)
    assert len(found["predictions"][0]["embedding"]) == 96
    refused = script("predict.py", f"run={folder}", str(place / "photos/0.png"))
    assert refused.returncode != 0
    assert "set format=json" in refused.stderr
    assert "Traceback" not in refused.stderr


def evaluated(folder, output, **options):
    evaluate(Options(run=str(folder), output=str(output), **options))
    return json.loads(next(output.glob("evaluation*.json")).read_text()), next(output.glob("report*.html")).read_text()


def test_evaluation_of_embeddings(done, tmp_path):
    folder, report = done
    found, page = evaluated(folder, tmp_path)
    assert found["reproduced"]["equal"]
    assert set(found["reproduced"]["values"]) == {"spearman", "knn_overlap"}
    test = (report["student"]["best"] or report["student"]["last"])["test"]
    metrics = {role: model["metrics"] for role, model in found["models"].items()}
    assert metrics["student"] == {name: test[name] for name in ("spearman", "knn_overlap")}
    assert metrics["teacher"] == pytest.approx({"spearman": 1, "knn_overlap": 1})
    rho = [each["spearman"] for each in found["hardest"]]
    assert len(rho) == 24
    assert rho == sorted(rho)
    assert rho[0] < metrics["student"]["spearman"]
    assert found["hardest"][0]["file"].endswith(".png")
    assert found["hardest"][0]["teacher"]["nearest"]["file"] != found["hardest"][0]["file"]
    for said in ("Spearman ρ of cosines", "nearest to the teacher", "Colors are groups of the teacher", 'class="near"'):
        assert said in page


def test_evaluation_of_embeddings_on_other_images(done, place, tmp_path):
    found, _ = evaluated(done[0], tmp_path, data="imagefolder", root=str(place / "labelled"))
    assert found["samples"] == 300
    assert found["reproduced"] is None
    assert 0 < found["models"]["student"]["metrics"]["spearman"] < 1
    with pytest.raises(UserError, match="teacher=false: embeddings are measured against the teacher's"):
        evaluate(Options(run=str(done[0]), output=str(tmp_path), teacher=False))


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("kd.alpha=0.5", "kd.alpha=0.5 weighs the loss on labels"),
        ("kd=kd", "term 'kd' cannot be used with task=embedding: it compares the outputs of classifiers"),
        ("kd=none", "kd has no term that learns from a teacher"),
        ("teacher.checkpoint=null", "no labels to train a teacher with"),
        ("task.probe=nowhere", "task.probe: folder nowhere does not exist"),
        ("task.score=acc", "embedding has no such metric"),
    ],
)
def test_mistakes_are_one_line(place, key, message):
    with pytest.raises(UserError, match=message):
        run_job(place / "runs/wrong", *keys(place), key)


def test_a_sweep_of_four(place):
    run = command("-m", *keys(place, **{"trainer.max_epochs": 1}), "kd.terms.embedding.loss.distance=cosine,mse",
                  "optimizer.lr=0.01,0.1", f"hydra.sweep.dir={place / 'sweep'}", cwd=place)  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "spearman" in (place / "sweep/results.csv").read_text()
