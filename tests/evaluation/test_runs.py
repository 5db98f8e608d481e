"""A finished run opened again: the same weights, data and numbers; mistakes in one line."""

import copy
import functools
import json
import operator
from contextlib import nullcontext

import pytest
import torch
from PIL import Image

import distill
from distill.data import Preprocess
from distill.evaluation.runs import Run
from distill.utils.errors import UserError
from jobs import TINY, run_job
from summaries import kept


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs") / "run"
    run_job(folder, *TINY, "teacher=resnet14")
    return folder


def accuracy(model, loader):
    hits = sum((model(b.inputs).argmax(1) == b.target).sum().item() for b in loader)
    return hits / sum(len(b.target) for b in loader)


@torch.no_grad()
def test_models_and_data_are_those_of_the_run(folder):
    run = Run(folder)
    report = json.loads((folder / "summary.json").read_text())
    test = list(run.data.test_dataloader())
    assert accuracy(run.student.model, test) == pytest.approx(kept(report["student"])["test"]["acc"])
    assert accuracy(run.teacher.model, test) == pytest.approx(report["teacher"]["test"]["acc"])
    assert not run.student.model.training
    assert not run.teacher.model.training
    assert list(map(str, run.roles)) == ["teacher", "student"]
    assert len(run.classes) == 10


def test_the_best_weights_by_their_file(folder):
    report = json.loads((folder / "summary.json").read_text())
    best = folder / report["student"]["best"]["weights"]
    assert Run(best).weights == best


@torch.no_grad()
def test_one_image_is_seen_as_the_test_split_sees_it(folder):
    run = Run(folder)
    batch = next(iter(run.data.test_dataloader()))
    image = run.data.image("test", int(batch.index[0]))
    torch.testing.assert_close(run.preprocess(image), batch.inputs[0])


def test_loading_for_use_needs_no_data(folder, monkeypatch):
    monkeypatch.setattr("distill.evaluation.runs.load_data", None)
    model = distill.load(folder)
    pictures = [Image.new("RGB", (30, 40), "white"), Image.new("L", (16, 16))]
    found = model.predict(pictures)
    logits = model(torch.stack([model.preprocess(p) for p in pictures]))
    assert [name for name, _ in found] == [model.classes[i] for i in logits.argmax(1).tolist()]
    assert [p for _, p in found] == pytest.approx(logits.softmax(1).amax(1).tolist(), rel=1e-5)
    assert logits.shape == (2, 10)


def test_simkds_student_comes_with_the_teachers_classifier(folder):
    report = run_job(folder.parent / "simkd", *TINY, "teacher=resnet14", "kd=simkd")
    run = Run(folder.parent / "simkd")
    with torch.no_grad():
        found = accuracy(run.student.model, run.data.test_dataloader())
    assert found == pytest.approx(kept(report["student"])["test"]["acc"])


def test_other_data_are_refused(folder, tmp_path):
    (tmp_path / "student.safetensors").write_bytes((folder / "student.safetensors").read_bytes())
    report = json.loads((folder / "summary.json").read_text())
    report["data"]["fingerprint"] = "0"
    (tmp_path / "summary.json").write_text(json.dumps(report))
    with pytest.raises(UserError, match=r"the data are not those of run .* \(data=digits\)"):
        _ = Run(tmp_path).data


def test_mistakes(folder, tmp_path):
    with pytest.raises(UserError, match=r"run .*/rum does not exist; did you mean 'run'\?"):
        Run(folder.parent / "rum")
    with pytest.raises(UserError, match="is no run's folder: it has no summary.json"):
        Run(tmp_path)
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(UserError, match="is not finished .* python train.py resume="):
        Run(tmp_path)
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(UserError, match="summary.json is not what a run of this version wrote"):
        Run(tmp_path)
    report = (folder / "summary.json").read_text()
    (tmp_path / "summary.json").write_text(report)
    with pytest.raises(UserError, match=r"has no student.safetensors: the student's weights are missing"):
        Run(tmp_path)
    (tmp_path / "student.safetensors").write_bytes(b"half")
    with pytest.raises(UserError, match="no readable safetensors file"):
        Run(tmp_path)
    (tmp_path / "student.safetensors").write_bytes((folder / "student.safetensors").read_bytes())
    with pytest.raises(UserError, match="is no weights file of the run; "):
        Run(tmp_path / "config.yaml")
    moved = json.loads(report)
    moved["teacher"]["path"] = "gone/teacher.safetensors"
    (tmp_path / "summary.json").write_text(json.dumps(moved))
    with pytest.raises(UserError, match="the teacher of run .* is not where it was: gone/teacher.safetensors"):
        _ = Run(tmp_path).teacher
    only = {key: value for key, value in moved.items() if key != "student"}
    (tmp_path / "summary.json").write_text(json.dumps(only))
    with pytest.raises(UserError, match="trained a teacher only"):
        Run(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("seed", "zero", r"config.seed: Value 'zero' of type 'str' could not be converted to Integer"),
        ("kd", "abc", r"config.kd: .*str is not a subclass of KDConfig"),
        ("data", None, r"config.data: field 'data' is not Optional"),
        ("optimizer", 7, r"config.optimizer: Cannot assign int"),
        ("kd", None, r"config.kd: "),
    ],
)
def test_a_configuration_that_somebody_edited(key, value, message, folder, tmp_path):
    (tmp_path / "student.safetensors").write_bytes((folder / "student.safetensors").read_bytes())
    report = json.loads((folder / "summary.json").read_text())
    del report["checksum"]
    report["config"][key] = value
    (tmp_path / "summary.json").write_text(json.dumps(report))
    with pytest.raises(UserError, match=f"summary.json is not what a run of this version wrote: {message}"):
        Run(tmp_path)
    del report["config"][key]
    (tmp_path / "summary.json").write_text(json.dumps(report))
    with pytest.raises(UserError, match=key) if key in ("kd", "data", "optimizer") else nullcontext():
        Run(tmp_path)


def places(node, path=()):
    """The path of every value below a node of JSON; of a list its first two."""
    items = node.items() if isinstance(node, dict) else list(enumerate(node))[:2] if isinstance(node, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


@pytest.mark.slow  # some hundred times opened
def test_any_value_that_somebody_edited_is_one_line(folder, tmp_path):
    """Each value of a summary is replaced by others of every type: it is opened all the same, or refused in words."""
    (tmp_path / "student.safetensors").write_bytes((folder / "student.safetensors").read_bytes())
    report = json.loads((folder / "summary.json").read_text())
    report.pop("checksum")
    report["config"]["kd"]["peers"] = None
    refused = set()
    for path in places(report):
        *above, last = path
        for value in (3, None, {}, [3]):
            edited = copy.deepcopy(report)
            functools.reduce(operator.getitem, above, edited)[last] = value
            (tmp_path / "summary.json").write_text(json.dumps(edited))
            try:
                Run(tmp_path)
            except UserError as error:
                refused.add((".".join(map(str, path)), str(value)))
                assert "\n" not in str(error)
    assert {("data.class_names", "3"), ("config.kd.peers", "3"), ("config", "3"),
            ("config.kd.peers", "[3]"), ("config.model", "None")} <= refused  # fmt: skip


def test_preprocessing_resizes_cuts_and_scales():
    plain = Preprocess(1, 4, 4, 8, [0.5], [0.25])
    assert plain(torch.full((1, 16, 24), 255, dtype=torch.uint8)).tolist() == [[[2.0] * 4] * 4]
    rising = torch.arange(12).expand(12, 12)[None].to(torch.uint8)
    cut = Preprocess(1, 4, 4, 12, [0.0], [1.0])(rising)
    torch.testing.assert_close(cut[0, 0], torch.arange(4, 8) / 255)
    assert Preprocess(**plain.as_dict()) == plain
    with pytest.raises(ValueError, match=r"must be \(1, H, W\), got \(3, 4, 4\)"):
        plain(torch.zeros(3, 4, 4))
    with pytest.raises(ValueError, match="must have 4×6 pixels, got 4×4"):
        Preprocess(1, 4, 6, None, [0.0], [1.0])(torch.zeros(1, 4, 4))
