"""Exports that are refused or fail: in one line, and nothing is left of them."""

import copy
import json

import pytest
import torch

from distill.cli import export
from distill.export import formats, images as students, pipeline
from distill.export.images import Pixels
from distill.export.options import Options
from distill.utils.errors import UserError
from jobs import ROOT

SHORT = {"seconds": 0, "threads": 1}


def test_a_file_that_answers_otherwise_is_refused(folder, tmp_path, monkeypatch):
    right = students.save_weights

    def wrong(model, path, **options):
        broken = copy.deepcopy(model)
        with torch.no_grad():
            broken.fc.bias += 0.01
        right(broken, path, **options)

    monkeypatch.setattr(students, "save_weights", wrong)
    options = Options(run=str(folder), format="safetensors", output=str(tmp_path / "e"), **SHORT)
    with pytest.raises(
        UserError, match=r"model.safetensors: a logit differs by 0.01 from PyTorch's, and tolerance=0.001"
    ):
        export.export(options)
    assert not list(tmp_path.iterdir())
    options.tolerance = 0.1
    assert export.export(options) == 0


@pytest.mark.slow
def test_int8_that_costs_too_much_is_refused(folder, tmp_path, monkeypatch):
    """Calibrated on black images, the activations of the test images are cut."""
    right = students.pixels

    def black(data, split, limit):
        found = right(data, split, limit)
        return Pixels(found.images * 0, found.labels) if split == "train" else found

    monkeypatch.setattr(students, "pixels", black)
    options = Options(run=str(folder), quantize="int8", output=str(tmp_path / "e"), **SHORT)
    with pytest.raises(UserError, match=r"model-int8.onnx: top-1 falls from .* % on 359 samples, and max_acc"):
        export.export(options)
    assert not list(tmp_path.iterdir())
    options.max_accuracy_drop = 1.0
    assert export.export(options) == 0
    table = json.loads((tmp_path / "e" / "export.json").read_text())["rows"]
    accuracy = {row["model"]: row["score"] for row in table}
    assert accuracy["student, onnx int8"] < accuracy["student, onnx"] - 0.02


def test_an_operator_without_onnx_counterpart_is_named_with_its_module(tmp_path):
    class Odd(torch.nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x)

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Sequential(torch.nn.Flatten(), Odd(), torch.nn.Linear(4, 2))

        def forward(self, x):
            return self.layer(x)

    with pytest.raises(
        UserError, match=r"operator prims.bessel_j0 has no ONNX counterpart; it is called by module 'layer.1' \(Odd\)"
    ):
        formats.write_onnx(Model().eval(), torch.rand(2, 1, 2, 2), tmp_path / "m.onnx", {})
    assert not list(tmp_path.iterdir())


def test_a_model_that_cannot_be_captured_names_its_module(tmp_path):
    class Branch(torch.nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    model = torch.nn.Sequential(torch.nn.Flatten(), Branch()).eval()
    with pytest.raises(UserError, match=r"torch.export cannot capture the student: .*in module '1' \(Branch\)"):
        formats.write_torch_export(model, torch.rand(2, 1, 2, 2), tmp_path / "m.pt2", {})


MISTAKES = {
    "format=onxx": "format=onxx is unknown; did you mean 'onnx'",
    "quantize=int4": "quantize=int4 is unknown; did you mean 'int8'",
    "preprocess=none": "preprocess=none is unknown; .*Allowed: embedded, described",
    "tolerance=-1": "tolerance must be at least 0",
    "max_accuracy_drop=-0.1": "max_accuracy_drop must be at least 0",
    "images=0": "images must be at least 1, got 0",
}


@pytest.mark.parametrize(("given", "said"), MISTAKES.items())
def test_mistakes(folder, given, said):
    from distill.config.options import parse

    with pytest.raises(UserError, match=said):
        export.export(parse(Options, [f"run={folder}", given]))


def test_more_mistakes(folder, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="add onnx to format"):
        export.export(Options(run=str(folder), format="safetensors", quantize="int8"))
    with pytest.raises(UserError, match="against= is the run itself"):
        export.export(Options(run=str(folder), against=str(folder)))
    with pytest.raises(UserError, match=r"run .* does not exist; did you mean 'run'"):
        export.export(Options(run=str(folder.parent / "rum")))
    monkeypatch.setattr("distill.export.options.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'format=onnx needs onnx and .* pip install "distill\[export\]"'):
        export.export(Options(run=str(folder)))


def test_what_exists_is_refused_before_any_work(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "export", None)
    (tmp_path / "mine.txt").write_text("keep")
    options = Options(run=str(folder), output=str(tmp_path))
    with pytest.raises(UserError, match="exists: choose another output=, or overwrite=true"):
        export.export(options)
    options.overwrite = True
    with pytest.raises(UserError, match="is no earlier export .* it is not overwritten"):
        export.export(options)
    assert (tmp_path / "mine.txt").read_text() == "keep"
    monkeypatch.chdir(tmp_path)
    for here in (".", str(tmp_path), "mine/.."):
        options.output = here
        with pytest.raises(UserError, match="is the current folder"):
            export.export(options)
    options.output = str(tmp_path / "mine.txt" / "export")
    with pytest.raises(UserError, match=r"output: .*mine.txt is a file, and a folder is needed there"):
        export.export(options)


def test_half_a_checkpoint(folder, tmp_path):
    (tmp_path / "summary.json").write_bytes((folder / "summary.json").read_bytes())
    options = Options(run=str(tmp_path), output=str(tmp_path / "e"), **SHORT)
    with pytest.raises(UserError, match="the student's weights are missing"):
        export.export(options)
    whole = (folder / "student.safetensors").read_bytes()
    (tmp_path / "student.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="no readable safetensors file"):
        export.export(options)
    assert not (tmp_path / "e").exists()
    assert not (tmp_path / "e.part").exists()


@pytest.mark.slow
def test_a_mistake_is_one_line_and_status_1(folder):
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, ROOT / "export.py", f"run={folder}", "format=onxx"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr == "error: format=onxx is unknown; did you mean 'onnx'? Allowed: onnx, torch_export, safetensors\n"
    )


def test_a_graph_that_onnxruntime_cannot_run_is_one_line(tmp_path):
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3).double(), torch.nn.Flatten()).eval().requires_grad_(False)
    formats.write_onnx(model, torch.zeros(2, 1, 4, 4, dtype=torch.float64), tmp_path / "x.onnx", {})
    with pytest.raises(UserError, match="onnxruntime cannot run the student: .*; format=torch_export,safetensors can"):
        formats.open_onnx(tmp_path / "x.onnx", 1)
