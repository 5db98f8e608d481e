"""Weights that load into plain torchvision and timm code, with this project out of reach."""

import json
import re
import subprocess
import sys

import pytest
import torch

from distill.cli import export as command
from distill.data import Preprocess
from distill.evaluation.runs import Run
from distill.export import standalone
from distill.export.images import open_images
from distill.export.options import Options
from distill.models import timm_model, torchvision_model
from distill.models.vision.imagenet import resnet18
from jobs import TINY, run_job

BLOCKED = "import sys; sys.modules['distill'] = None\n"


@pytest.mark.slow
@pytest.mark.parametrize("model", [
    ("model=timm", "model.name=resnet10t"), ("model=torchvision", "model.name=squeezenet1_1", "data.image_size=32"),
    ("model=resnet18",),
])  # fmt: skip
def test_the_cards_own_code_answers_as_the_student(model, tmp_path):
    run_job(tmp_path / "run", *TINY, "kd=none", *model, "trainer.max_epochs=1", "trainer.limit_train_batches=2")
    options = Options(run=str(tmp_path / "run"), format="safetensors", seconds=0, threads=1, images=20)
    assert command.export(options) == 0
    export = tmp_path / "run" / "export"
    (code,) = re.findall(r"```python\n(.*?)```", (export / "README.md").read_text(), re.DOTALL)
    run = Run(tmp_path / "run")
    student = open_images(run, options)
    torch.save(run.preprocess.scaling(student.images), tmp_path / "inputs.pt")
    code = BLOCKED + code + f'torch = __import__("torch")\nprint(model(torch.load("{tmp_path}/inputs.pt")).tolist())'
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=export, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    torch.testing.assert_close(torch.tensor(json.loads(done.stdout)), student.reference, rtol=1e-4, atol=1e-4)


def test_blocking_blocks():
    done = subprocess.run([sys.executable, "-c", BLOCKED + "import distill"], capture_output=True, text=True)
    assert done.returncode != 0


def see(channels, size):
    return Preprocess(channels, size, size, size, [0.5] * channels, [0.5] * channels)


MODELS = {
    "googlenet": (torchvision_model, {"name": "googlenet"}, 3, 64),
    "vit": (torchvision_model, {"name": "vit_b_32"}, 1, 64),
    "vit, timm": (timm_model, {"name": "vit_tiny_patch16_224"}, 1, 32),
    "large stem": (resnet18, {}, 1, 96),
}


@pytest.mark.slow
@pytest.mark.parametrize("which", MODELS)
def test_the_code_builds_the_same_architecture(which, tmp_path):
    function, arguments, channels, size = MODELS[which]
    model = function(**arguments, num_classes=7, in_channels=channels, image_size=size).eval()
    node = {"_target_": f"distill.models.{function.__name__}", "pretrained": False, **arguments}
    file = tmp_path / "model.safetensors"
    command_code = standalone.code(node, see(channels, size), 7, model, str(file))
    from distill.utils.checkpoints import save_weights

    save_weights(model, file)
    names = {}
    exec(command_code, names)
    example = torch.rand(2, channels, size, size, generator=torch.manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(names["model"](example), model(example))


def test_our_own_architectures_have_no_plain_code():
    assert standalone.library({"_target_": "distill.models.resnet8"}) is None
    assert standalone.library({"_target_": "mine.timm_model"}) is None
    assert standalone.library({"_target_": "distill.models.timm_model"}) == "timm"
    assert standalone.library({"_target_": "distill.models.resnet18"}) == "torchvision"
