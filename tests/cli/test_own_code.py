"""Modules of the user's own are found without PYTHONPATH, and every printed command runs again."""

import html
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import distill
from distill.config import own_code
from distill.utils.errors import UserError
from jobs import ROOT, TINY, run_job

NET = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, num_classes, in_channels=3, image_size=8, width=16):
        inputs = in_channels * image_size**2
        super().__init__(nn.Flatten(), nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, num_classes))
"""
SHORT = " ".join([*TINY, "trainer.accelerator=cpu"])


def shell(line, folder):
    """A line as a user pastes it into a shell; ``python`` is this one."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=800,
    )  # fmt: skip


def done(line, folder):
    result = shell(line, folder)
    assert result.returncode == 0, f"{line}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def commands(page):
    """The commands that a page shows."""
    found = re.findall(r'<pre class="command">(.*?)</pre>', page.read_text(), re.DOTALL)
    return [html.unescape(line).strip() for line in found]


def write_model(folder, module, name):
    (folder / "model").mkdir(parents=True)
    (folder / f"{module}.py").write_text(NET)
    (folder / "model" / f"{name}.yaml").write_text(f"_target_: {module}.Net\n")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with an own model beside its YAML file, and a finished run of it."""
    folder = tmp_path_factory.mktemp("a place")
    write_model(folder / "my conf", "nets_of_mine", "mine")
    (folder / "train.sh").write_text(
        f"python {shlex.quote(str(ROOT / 'train.py'))} --config-dir 'my conf' model=mine kd=none {SHORT} "
        "hydra.run.dir='the run'"
    )
    done("bash train.sh", folder)
    return folder


def script(name):
    return f"python {ROOT / name}.py run='the run'"


@pytest.mark.slow
def test_an_own_model_is_found_again_and_its_commands_run(place):
    assert json.loads((place / "the run" / "summary.json").read_text())["config"]["code"] == "my conf"
    refused = shell(script("evaluate"), place)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    remedy = refused.stderr.split()[-1]
    assert remedy == "trust=nets_of_mine"
    done(f"{script('evaluate')} {remedy} map=none", place)
    Image.new("L", (8, 8)).save(place / "image.png")
    assert "image.png" in done(f"{script('predict')} {remedy} image.png", place)
    done(f"{script('export')} {remedy} format=safetensors seconds=0", place)
    done("python -c \"import distill; distill.load('the run', trust='nets_of_mine')\"", place)

    pasted = commands(place / "the run" / "report.html")
    assert [line.split()[1].rpartition("/")[2] for line in pasted] == ["train.py", "evaluate.py"]
    card = (place / "the run" / "export" / "README.md").read_text()
    (block,) = re.findall(r"```text\n(.*?)```", card, re.DOTALL)
    pasted += block.strip().splitlines()
    assert pasted[0] == pasted[2]
    for line in dict.fromkeys(pasted):
        done(line, place)
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert code.strip() == "import distill\n\nmodel = distill.load('the run', trust=['nets_of_mine'])"
    done(f"python -c {shlex.quote(code)}", place)


@pytest.mark.slow
def test_elsewhere_one_line_says_what_to_give(place, tmp_path):
    line = f"python {ROOT / 'predict.py'} run={shlex.quote(str(place / 'the run'))} trust=nets_of_mine"
    Image.new("L", (8, 8)).save(tmp_path / "image.png")
    refused = shell(f"{line} image.png", tmp_path)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert refused.stderr.endswith("is looked for in code=<folder>, the folder of --config-dir, the current folder\n")
    done(f"{line} code={shlex.quote(str(place / 'my conf'))} image.png", tmp_path)


def write_in(folder):
    """A module in a folder; the command that trains its model for a moment."""
    folder.mkdir(exist_ok=True)
    (folder / "swept_nets.py").write_text(NET)
    return f"python {ROOT / 'train.py'} 'model={{_target_:swept_nets.Net}}' kd=none {SHORT} data.subset=100"


@pytest.mark.slow
def test_a_sweeps_commands_run(tmp_path):
    train = write_in(tmp_path)  # the current folder
    done(f"{train} -m seed=0,1 hydra.sweep.dir=sweep", tmp_path)
    for line in dict.fromkeys(commands(tmp_path / "sweep" / "report.html")):
        done(line, tmp_path)


@pytest.mark.slow
def test_code_names_the_folder(tmp_path):
    train = write_in(tmp_path / "lib")
    missing = shell(train, tmp_path)
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
    assert "No module named 'swept_nets'; a module of your own is looked for in code=<folder>" in missing.stderr
    done(f"{train} code=lib hydra.run.dir=run", tmp_path)
    (tmp_path / "run" / "summary.json").unlink()
    done(f"python {ROOT / 'train.py'} resume=run trust=swept_nets", tmp_path)


@pytest.fixture
def recorded(place, tmp_path, monkeypatch):
    """A run of a model whose module lies where its summary says, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv(own_code.FOLDERS, raising=False)
    for folder in ("lib", "run/lib"):
        write_model(tmp_path / folder, "recorded_nets", "mine")
    monkeypatch.syspath_prepend(tmp_path / "lib")
    run_job(tmp_path / "run", *TINY, "model={_target_:recorded_nets.Net}", "kd=none")
    sys.path.remove(str(tmp_path / "lib"))

    def make(code):
        sys.modules.pop("recorded_nets", None)
        summary = json.loads((tmp_path / "run" / "summary.json").read_text())
        summary["config"]["code"] = code
        (tmp_path / "run" / "summary.json").write_text(json.dumps(summary))
        return list(sys.path)

    yield make
    sys.modules.pop("recorded_nets", None)


def test_a_recorded_folder_is_used_for_modules_that_the_user_trusts_alone(recorded):
    path = recorded("lib")
    with pytest.raises(UserError, match=r"names recorded_nets\.Net and is refused: .* add trust=recorded_nets$"):
        distill.load("run")
    assert sys.path == path
    assert "recorded_nets" not in sys.modules
    distill.load("run", trust="recorded_nets")
    assert Path(sys.modules["recorded_nets"].__file__) == Path("lib/recorded_nets.py").resolve()


@pytest.mark.parametrize("code", ["run/lib", "run", "elsewhere", 7])
def test_a_recorded_folder_within_the_run_is_never_used(recorded, code):
    recorded(code)
    with pytest.raises(UserError, match=r"cannot import 'recorded_nets\.Net': .*; a module of your own is looked for"):
        distill.load("run", trust="recorded_nets")
    distill.load("run", trust="recorded_nets", code="run/lib")  # the user says so


def test_a_folder_that_is_not_there_is_said(recorded):
    with pytest.raises(UserError, match=r"^code: folder nowhere does not exist$"):
        distill.load("run", trust="recorded_nets", code="nowhere")
