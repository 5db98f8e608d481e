"""A folder from somebody else is data: no command executes what it names, each refuses it in one line."""

import json
import shutil
import sys

import pytest
import torch
from PIL import Image

import distill
from attacks import attack, put
from distill.cli import compare, evaluate, export, predict, report
from distill.data import Preprocess
from distill.data.sources import image_folder
from distill.data.vision.pixels import BrokenImageError
from distill.evaluation.predict.images import predict_images
from distill.evaluation.runs import Run
from distill.export import standalone
from distill.utils.errors import UserError
from jobs import TINY, run_job, script
from own_model import OWN

KEYS = ("model", "teacher", "kd.terms.kd.loss", "kd.flow", "kd.student_wrapper", "data.source", "data.transform",
        "optimizer", "scheduler", "callbacks.best", "logger.csv", "trainer", "model.inner")  # fmt: skip


@pytest.fixture
def foreign(distilled, tmp_path, marker):
    """A copy of a run whose configuration names what is executed when it is instantiated."""

    def make(key, name="torch_hub"):
        folder = tmp_path / "foreign"
        shutil.copytree(distilled, folder, dirs_exist_ok=True)
        summary = json.loads((folder / "summary.json").read_text())
        put(summary["config"], key, attack(name, tmp_path))
        (folder / "summary.json").write_text(json.dumps(summary))
        return folder

    return make


def commands(folder, output, other):
    """Every command that opens a run's models, on a folder."""
    image = output / "image.png"
    torch.save({}, image)
    return {
        "load": lambda: distill.load(folder),
        "evaluate": lambda: evaluate.evaluate(evaluate.Options(run=str(folder), output=str(output / "evaluated"))),
        "against": lambda: evaluate.evaluate(
            evaluate.Options(run=str(other), against=str(folder), output=str(output / "evaluated"))
        ),
        "predict": lambda: predict.predict(predict.Options(run=str(folder), inputs=[str(image)])),
        "export": lambda: export.export(
            export.Options(run=str(folder), format="safetensors", output=str(output / "exported"), seconds=0)
        ),
    }


@pytest.mark.parametrize("key", KEYS)
def test_no_key_of_a_runs_configuration_is_executed(foreign, marker, key):
    folder = foreign(key)
    with pytest.raises(UserError, match=rf"^{key}\._target_ in .*foreign/summary\.json names torch\.hub\.load"):
        distill.load(folder)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["load", "evaluate", "against", "predict", "export"])
@pytest.mark.parametrize("what", ["torch_hub", "own_escape", "module"])
def test_no_command_executes_what_a_run_names(foreign, distilled, tmp_path, marker, name, what, monkeypatch):
    monkeypatch.setattr("distill.cli.evaluate.RunFolder.check_comparable", lambda *_: None)
    folder = foreign("kd.terms.kd.loss", what)
    with pytest.raises(UserError, match=r"^kd\.terms\.kd\.loss\._target_ in .*summary\.json names "):
        commands(folder, tmp_path, distilled)[name]()
    assert not marker.exists()
    assert "strangers_module" not in sys.modules


def test_reading_commands_build_nothing(foreign, distilled, tmp_path, marker):
    """``compare`` and ``report`` show a run of somebody else: they read its numbers alone."""
    folder = foreign("model")
    foreign("kd.flow")
    compare.compare(compare.Options(runs=[str(folder), str(distilled)], output=str(tmp_path / "compare.html")))
    sweep = tmp_path / "sweep"
    (sweep / "0").mkdir(parents=True)
    shutil.copytree(folder, sweep / "0", dirs_exist_ok=True)
    (sweep / "0" / "command.yaml").write_text("overrides: [model._target_=torch.hub.load]\nconfig_dir: null\n")
    (sweep / "sweep.yaml").write_text("overrides: [seed=0]\nconfig_dir: null\njobs: 1\n")
    report.report(report.Options(sweep=[str(sweep)]))
    assert not marker.exists()


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A finished run of a model of the user's own."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "my_models.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        run_job(folder / "run", *TINY, "model={_target_:my_models.net}", "kd=none")
    sys.modules.pop("my_models")
    return folder


def test_own_models_are_opened_where_their_module_is_named(own, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(own)
    run = str(own / "run")
    refused = r"^model\._target_ in .*run/summary\.json names my_models\.net and is refused.*add trust=my_models$"
    for work in commands(run, tmp_path, run).values():
        with pytest.raises(UserError, match=f"{refused}|is the run itself"):
            work()
    assert distill.load(run, trust="my_models").classes == Run(run, ["my_models"]).classes
    options = {"run": run, "trust": "my_models"}
    evaluate.evaluate(evaluate.Options(**options, output=str(tmp_path / "evaluated"), map="none"))
    export.export(export.Options(**options, format="safetensors", output=str(tmp_path / "exported"), seconds=0))
    sys.modules.pop("my_models")


def test_a_run_of_this_package_needs_no_trust(distilled, tmp_path):
    for work in commands(distilled, tmp_path, distilled).values():
        try:
            work()
        except UserError as error:
            assert "against= is the run itself" in str(error)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["evaluate", "predict", "export"])
def test_the_commands_say_it_in_one_line(foreign, tmp_path, marker, name):
    arguments = [f"run={foreign('model')}", *(["image.png"] if name == "predict" else [])]
    (tmp_path / "image.png").touch()
    done = script(name, *arguments, cwd=tmp_path)
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (1, 1), done.stderr
    assert done.stderr.startswith("error: model._target_ in ")
    assert "trust=torch.hub" in done.stderr
    assert not marker.exists()


def edited(run, folder, change):
    """A copy of a run with another summary."""
    shutil.copytree(run, folder, dirs_exist_ok=True)
    summary = json.loads((folder / "summary.json").read_text())
    change(summary)
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


@pytest.mark.parametrize("name", ["../student.safetensors", "/tmp/student.safetensors", "..", "a/b.safetensors", 7])
def test_weights_lie_in_the_runs_folder(distilled, tmp_path, name):
    def rename(summary):
        for entry in ("best", "last"):
            summary["student"][entry]["weights"] = name

    folder = edited(distilled, tmp_path / "run", rename)
    with pytest.raises(UserError, match=r"summary\.json names a file outside of its folder: "):
        distill.load(folder)


@pytest.mark.parametrize(("key", "size"), [
    ("height", 10**9), ("width", 0), ("channels", 10**9), ("height", "8"), ("width", None), ("height", 1e9),
])  # fmt: skip
def test_absurd_sizes_are_refused(distilled, tmp_path, key, size):
    folder = edited(distilled, tmp_path / "run", lambda summary: summary["data"]["preprocess"].update({key: size}))
    with pytest.raises(UserError, match=rf"summary\.json is not what a run .* {key} of its data is "):
        distill.load(folder)


def test_decompression_bombs_are_named(distilled, tmp_path, monkeypatch):
    """Pillow itself only warns up to twice its limit."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64)
    for split, name, side in (("a", "fine.png", 8), ("a", "bomb.png", 9), ("b", "fine.png", 8)):
        (tmp_path / "data" / split).mkdir(parents=True, exist_ok=True)
        Image.new("L", (side, 8)).save(tmp_path / "data" / split / name)
    fine, bomb = tmp_path / "data" / "a" / "fine.png", tmp_path / "data" / "a" / "bomb.png"
    with pytest.warns(Image.DecompressionBombWarning):
        predictions = list(predict_images(distill.load(distilled), [str(fine), str(bomb)], 1, 2, 1))
    reason = "9×8 pixels are more than Pillow's limit of 64"
    assert [prediction.error for prediction in predictions] == [None, reason]
    images = image_folder(tmp_path / "data").train
    with pytest.warns(Image.DecompressionBombWarning), pytest.raises(BrokenImageError, match=rf"bomb.png .*{reason}"):
        [images.check(row) for row in range(3)]


def test_lines_of_a_model_card_that_are_run_hold_no_code(tmp_path):
    """The exported weights are tried with the lines that load them: a name of an argument must not be code."""
    preprocess = Preprocess(1, 8, 8, None, [0.5], [0.5])
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1))
    node = {"_target_": "distill.models.timm_model", "name": "resnet10t"}
    assert "timm.create_model('resnet10t'" in standalone.code(node, preprocess, 2, model, "model.safetensors")
    evil = f"a=open({str(tmp_path / 'marker')!r}, 'w'), b"
    assert standalone.code({**node, evil: None}, preprocess, 2, model, "model.safetensors") is None


def test_pages_escape_what_a_run_says(distilled, tmp_path):
    """Names of classes, models and commands are text."""
    evil = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>"

    def change(summary):
        summary["data"]["class_names"] = [f"{evil}{i}" for i in range(10)]
        summary["command"] = summary["student"]["name"] = summary["teacher"]["name"] = summary["data"]["name"] = evil

    folder = edited(distilled, tmp_path / "run", change)
    evaluate.evaluate(evaluate.Options(run=str(folder), output=str(tmp_path / "evaluated"), map="none"))
    compare.compare(compare.Options(runs=[str(folder), str(distilled)], output=str(tmp_path / "compare.html")))
    sweep = tmp_path / "sweep"
    shutil.copytree(folder, sweep / "0")
    (sweep / "0" / "command.yaml").write_text(json.dumps({"overrides": [f"kd.T='{evil}'"], "config_dir": None}))
    (sweep / "sweep.yaml").write_text("overrides: [seed=0]\nconfig_dir: null\njobs: 1\n")
    report.report(report.Options(sweep=[str(sweep)]))
    pages = [*tmp_path.glob("*.html"), *tmp_path.glob("evaluated/*.html"), sweep / "report.html"]
    assert len(pages) == 3
    for page in pages:
        assert "<script>alert" not in page.read_text()
        assert "<img src=x" not in page.read_text()
