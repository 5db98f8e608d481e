"""Export: files that answer as the student does, refused where they do not; nothing is left of a refused one."""

import ast
import json
import re
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from PIL import Image

import distill
from distill.cli import export
from distill.evaluation.runs import Run
from distill.export import formats
from distill.export.images import Deployed
from distill.export.latency import _timing, timings
from distill.export.options import FORMATS, Options
from distill.export.parity import compare
from distill.tasks.classification import Classification
from distill.utils.timing import Times
from jobs import ROOT, TINY, run_job
from summaries import kept

SHORT = {"seconds": 0, "threads": 1}


@pytest.fixture(scope="module")
def exported(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("files") / "export"
    options = Options(
        run=str(folder), format=list(FORMATS), output=str(output), quantize="int8", seconds=0.01, threads=1,
        max_accuracy_drop=0.2,  # of a student that hardly learned, on CPUs that round int8 sums
    )  # fmt: skip
    assert export.export(options) == 0
    return output


def rows(output):
    return {row["model"]: row for row in json.loads((output / "export.json").read_text())["rows"]}


@pytest.mark.slow
def test_the_files_are_as_good_as_the_student(exported, folder):
    found = rows(exported)
    asked = kept(json.loads((folder / "summary.json").read_text())["student"])["test"]["acc"]
    assert set(found) == {"teacher, PyTorch", "student, PyTorch", "student, onnx", "student, torch_export",
                          "student, safetensors", "student, onnx int8"}  # fmt: skip
    for name in ("onnx", "torch_export", "safetensors"):
        row = found[f"student, {name}"]
        assert row["score"] == pytest.approx(asked)
        assert row["difference"] < 1e-4
        assert row["images"] == 359
        assert (exported / row["file"]).stat().st_size == row["bytes"]


@pytest.mark.slow
def test_the_onnx_file_alone_gives_the_runs_accuracy(exported, folder):
    """Read by onnxruntime alone, on images that this test takes from the data set itself."""
    import onnxruntime

    run = Run(folder)
    session = onnxruntime.InferenceSession(exported / "model.onnx", providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["classes"]) == [str(i) for i in range(10)]
    assert session.get_inputs()[0].shape == ["batch", 1, 8, 8]
    assert session.get_inputs()[0].type == "tensor(uint8)"
    assert session.get_outputs()[0].shape == ["batch", 10]
    images = np.stack([run.data.image("test", index).numpy() for index in run.data.indices("test").tolist()])
    labels = torch.cat([batch.target for batch in run.data.test_dataloader()]).numpy()
    found = np.concatenate([session.run(None, {"images": some})[0] for some in (images[:1], images[1:])]).argmax(1)
    accuracy = (found == labels).mean()
    assert accuracy == pytest.approx(run.student_result.test["acc"])


@pytest.mark.slow
@pytest.mark.parametrize("preprocess", ["embedded", "described"])
def test_the_cards_onnx_lines_run_as_they_are(exported, folder, tmp_path, preprocess):
    """In the export's folder, by another Python process; the answer is that of the student to a black picture."""
    if preprocess == "described":
        options = Options(run=str(folder), format=["onnx"], output=str(tmp_path), preprocess=preprocess, **SHORT)
        assert export.export(options) == 0
        exported = tmp_path
    lines = re.findall(r"```python\n(.*?)```", (exported / "README.md").read_text(), re.DOTALL)
    (code,) = [each for each in lines if "onnxruntime" in each]
    done = subprocess.run([sys.executable, "-c", code], cwd=exported, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    black, *_ = distill.load(folder).predict([Image.new("L", (64, 64))])
    assert ast.literal_eval(done.stdout) == [black[0]]


@pytest.mark.slow
def test_torch_export_takes_any_batch(exported, folder):
    run = Run(folder)
    again = formats.open_torch_export(exported / "model.pt2")
    images = torch.randint(0, 256, (7, 1, 8, 8), dtype=torch.uint8, generator=torch.manual_seed(0))
    with torch.no_grad():
        expected = run.student.model(run.preprocess.scaling(images))
        for size in (1, 2, 7):
            torch.testing.assert_close(again(images[:size]), expected[:size], rtol=1e-4, atol=1e-5)
    assert (exported / "model.pt2").stat().st_size < 1.5e6  # weights, and no test images


@pytest.mark.slow
def test_int8_is_smaller_and_nearly_as_good(exported):
    found = rows(exported)
    int8, float32 = found["student, onnx int8"], found["student, onnx"]
    assert int8["bytes"] < 0.6 * float32["bytes"]
    assert int8["score"] > float32["score"] - 0.06  # it hardly learned; CPUs without int8 units round sums
    assert int8["difference"] > 1e-4  # it is no copy of the other
    import onnx

    nodes = onnx.load(exported / "model-int8.onnx").graph.node
    kinds = [node.op_type for node in nodes]
    assert {"QuantizeLinear", "DequantizeLinear"} <= set(kinds)
    made_by = {name: node for node in nodes for name in node.output}
    first = next(node for node in nodes if node.op_type == "QuantizeLinear")
    chain, value = [], "images"
    while value != first.input[0]:
        node = next(node for node in nodes if value in node.input)
        chain.append(node.op_type)
        value = node.output[0]
    assert chain == ["Cast", "Mul", "Sub"]  # normalised in float32
    inner = [made_by[node.input[0]].op_type for node in nodes if node.op_type in ("Conv", "Gemm")]
    assert set(inner) == {"DequantizeLinear"}  # and every layer computes in int8


@pytest.mark.slow
def test_speed_of_all_in_one_table(exported):
    for name, row in rows(exported).items():
        assert ("speed" in row) == ("safetensors" not in name)
        if "speed" in row:
            speed = row["speed"]
            assert 0 < speed["median_ms"] <= speed["p95_ms"] <= speed["p99_ms"]
            assert speed["rounds"] >= 100


@pytest.mark.slow
def test_the_model_card_is_read_by_the_hubs_own_reader(exported, folder):
    card = ModelCard.load(exported / "README.md")
    assert card.data.license == "unknown"
    assert card.data.pipeline_tag == "image-classification"
    (result,) = card.data.eval_results
    assert result.metric_value == pytest.approx(rows(exported)["student, onnx"]["score"], abs=1e-6)
    assert yaml.safe_load((exported / "README.md").read_text().split("---")[1])["model-index"]
    for said in (
        "resnet14",
        "α",
        "`kd`",
        "model-int8.onnx",
        "batch 1, ms",
        json.loads((folder / "summary.json").read_text())["command"],
    ):
        assert said in card.text


def test_the_preprocessing_is_the_runs(folder):
    run = Run(folder)
    deployed = Deployed(run.student.model, run.preprocess, torch.uint8)
    image = torch.randint(0, 256, (1, 8, 8), dtype=torch.uint8, generator=torch.manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(deployed(image[None]), run.student.model(run.preprocess(image)[None]))
    wrong = Deployed(run.student.model, run.preprocess, torch.float32)
    assert not torch.allclose(deployed(image[None]), wrong(image[None]))


def test_described_leaves_normalising_to_the_caller(folder, tmp_path):
    options = Options(
        run=str(folder), format="torch_export", output=str(tmp_path / "e"), preprocess="described", **SHORT
    )
    assert export.export(options) == 0
    run = Run(folder)
    example = run.data.example(3)
    with torch.no_grad():
        found = formats.open_torch_export(tmp_path / "e" / "model.pt2")(example)
        torch.testing.assert_close(found, run.student.model(example), rtol=1e-4, atol=1e-5)
    about = json.loads((tmp_path / "e" / "preprocess.json").read_text())
    assert about["graph"]["normalises"] is False
    assert about["mean"] == list(run.preprocess.mean)


@pytest.fixture(scope="module")
def learnt_int8(folder):
    """The student of ``folder`` after an epoch with int8."""
    after = folder.parent / "int8"
    run_job(after, *TINY, "teacher=resnet14", f"init={folder}", "quantize=int8", "trainer.max_epochs=1")
    return after


@pytest.mark.slow
def test_before_and_after_learning_int8_in_one_table(folder, learnt_int8, tmp_path):
    options = Options(run=str(learnt_int8), quantize="int8", against=str(folder), output=str(tmp_path / "e"),
                      max_accuracy_drop=1.0, seconds=0.001, threads=1)  # fmt: skip
    assert export.export(options) == 0
    found = rows(tmp_path / "e")
    for name, of in (("student", learnt_int8), ("other", folder)):
        test = kept(json.loads((of / "summary.json").read_text())["student"])["test"]["acc"]
        assert found[f"{name}, PyTorch"]["score"] == pytest.approx(test)
        for kind in ("PyTorch", "onnx", "onnx int8"):
            assert found[f"{name}, {kind}"]["speed"]["rounds"] >= 100
            assert found[f"{name}, {kind}"]["bytes"] > 1e4
    assert {file.name for file in (tmp_path / "e").iterdir()} == {
        "model.onnx", "model-int8.onnx", "README.md", "export.json", "classes.json", "preprocess.json"}  # fmt: skip
    assert "other, onnx int8" in (tmp_path / "e" / "README.md").read_text()


@pytest.mark.slow
def test_nothing_of_the_machines_folders_goes_out(exported, folder):
    for path in exported.iterdir():
        hidden = [str(ROOT / "src").encode(), b"site-packages"]
        if path.name not in ("README.md", "export.json"):  # which show the commands as they were given
            hidden.append(str(folder.parent).encode())
        content = path.read_bytes()
        if path.suffix == ".pt2":
            with zipfile.ZipFile(path) as archive:
                content = b"".join(archive.read(name) for name in archive.namelist())
        assert not [place for place in hidden if place in content], path.name


def test_a_teacher_that_is_gone_is_no_obstacle(folder, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("checkpoints"))
    report = json.loads((copy / "summary.json").read_text())
    report["teacher"]["path"] = "gone/teacher.safetensors"
    (copy / "summary.json").write_text(json.dumps(report))
    options = Options(run=str(copy), format="safetensors", output=str(tmp_path / "e"), **SHORT)
    assert export.export(options) == 0
    assert list(rows(tmp_path / "e")) == ["student, PyTorch", "student, safetensors"]
    assert "is not where it was: gone/teacher.safetensors; the table is without it" in capsys.readouterr().err


def test_the_runs_own_number_is_held_against_the_pixels(folder, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("checkpoints"))
    report = json.loads((copy / "summary.json").read_text())
    options = Options(run=str(copy), format="safetensors", output=str(tmp_path / "e"), overwrite=True, **SHORT)
    assert export.export(options) == 0
    own = kept(report["student"])
    assert json.loads((tmp_path / "e" / "export.json").read_text())["tested"] == {
        "score": own["test"]["acc"], "precision": "32-true", "epoch": own["epoch"]}  # fmt: skip
    assert "warning" not in capsys.readouterr().err
    report["data"]["preprocess"]["mean"] = [9.0]  # what was seen in training is another thing
    (copy / "summary.json").write_text(json.dumps(report))
    assert export.export(options) == 0
    assert "warning: the run's own test in 32-true gave" in capsys.readouterr().err


def test_percentiles_and_the_best_batch():
    ms = np.arange(1, 101) / 1e3
    found = _timing({1: Times({"a": ms}, False), 4: Times({"a": 2 * ms}, True), 16: Times({"a": 20 * ms}, False)}, "a")
    assert found.busy
    assert (found.median_ms, found.p95_ms, found.p99_ms) == pytest.approx((50.5, 95.05, 99.01))
    assert (found.best_batch, found.best_median_ms, found.rounds) == (4, pytest.approx(101.0), 100)
    assert found.throughput == pytest.approx(4 / 0.101)


def test_likeness_counts():
    labels = torch.tensor([0, 1])
    like = compare(
        torch.tensor([[2.0, 1.0], [2.0, 1.0]]), torch.tensor([[2.0, 1.0], [0.0, 1.0]]), labels, Classification(2)
    )
    assert (like.difference, like.score, like.reference, like.agreement) == (2.0, 0.5, 1.0, 0.5)
    broken = compare(torch.full((2, 2), float("nan")), torch.zeros(2, 2), labels, Classification(2))
    assert broken.difference == float("inf")


def test_timings_alternate():
    calls = []

    def model(name):
        return lambda batch: calls.append((name, len(batch))) or batch

    found = timings({"a": model("a"), "b": model("b")}, torch.zeros, (1, 4, 16, 64, 256), seconds=0.0)
    assert set(found) == {"a", "b"}
    measured = [name for name, size in calls if size == 1][10:]  # after warm-up
    rounds = list(zip(measured[::2], measured[1::2], strict=True))
    assert len(rounds) == 100
    assert set(rounds) == {("a", "b"), ("b", "a")}  # each once a round, in no fixed order
    assert {size for _, size in calls} == {1, 4, 16, 64, 256}
