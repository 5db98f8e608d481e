"""Jobs whose processes share one student: as one process with the same global batch, stopped and continued."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from distill.config.schema import typed
from distill.training.acceleration.sharding import UNIT, _tied, units
from distill.training.flows import check
from distill.utils.errors import UserError
from jobs import ROOT, TINY, command, composed, curve, interrupted

OWN = '''
from torch import nn

class Block(nn.Module):
    def __init__(self, inputs, width):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(inputs, width), nn.ReLU())

    def forward(self, x):
        return self.inner(x)

def mlp(num_classes, in_channels, image_size, width=1024, **_):
    """No BatchNorm: each process would normalise by its own part of the batch."""
    pixels = in_channels * image_size**2
    return nn.Sequential(nn.Flatten(), Block(pixels, width), Block(width, width), nn.Linear(width, num_classes))
'''
JOB = (
    *TINY, "data.batch_size=20", "model._target_=own.mlp", "+model.width=1024", "teacher._target_=own.mlp",
    "+teacher.width=1100", "teacher.recipe.batch_size=20", "trainer.accelerator=cpu", "trainer.max_epochs=3",
    "kd.alpha={schedule:linear,start:0.9,end:0.1}", "trainer.gradient_clip_val=1.0",
)  # fmt: skip
SHARDED = ("trainer=fsdp", "trainer.devices=2", "trainer.accelerator=cpu", "trainer.max_epochs=3",
           "trainer.gradient_clip_val=1.0")  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("fsdp")
    (place / "own.py").write_text(OWN)
    return place


def train(place, *arguments):
    path = os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")])
    done = command(*JOB, *arguments, cwd=place, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module", params=["kd", "fitnet"])
def runs(request, place):
    """One process, and two that share the student; fitnet learns an adapter with it."""
    name = request.param
    layers = () if name == "kd" else ("kd=fitnet", "kd.terms.fitnet.student=1", "kd.terms.fitnet.teacher=1")
    layers = tuple(f"{key}.inner" if key.endswith("=1") else key for key in layers)
    train(place, *layers, f"hydra.run.dir={name}-one", "teachers_dir=teachers-one")
    done = train(place, "log_level=debug", *SHARDED, *layers, f"hydra.run.dir={name}-two", "teachers_dir=teachers-two")
    assert "this process holds 0.563 M of the 1.13 M parameters that are trained" in done.stdout
    return place / f"{name}-one", place / f"{name}-two"


@pytest.mark.slow
def test_shared_by_two_processes_it_learns_as_in_one(runs):
    one, two = runs
    alone, both = curve(one), curve(two)
    assert alone.keys() == both.keys()
    for key, values in alone.items():
        assert both[key] == pytest.approx(values, rel=1e-3, abs=1e-4), key
        assert len(values) == 3
    weights, shared = load_file(one / "student.safetensors"), load_file(two / "student.safetensors")
    assert all((value - shared[name]).norm() < 1e-2 * value.norm() for name, value in weights.items())
    reports = [json.loads((run / "summary.json").read_text())["student"] for run in (one, two)]
    for split in ("val", "test"):
        assert reports[1]["last"][split] == pytest.approx(reports[0]["last"][split], rel=1e-3)
    assert reports[0]["parameters"] == reports[1]["parameters"]
    whole, both = (torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (one, two))
    assert whole["state_dict"].keys() == both["state_dict"].keys()
    assert all(value.shape == whole["state_dict"][name].shape for name, value in both["state_dict"].items())
    teachers = [next(run.parent.glob(f"teachers-{run.name[-3:]}/*/teacher.safetensors")) for run in runs]
    first, second = map(load_file, teachers)
    assert all(torch.allclose(value, second[name], atol=1e-4) for name, value in first.items())


@pytest.mark.slow
def test_stopped_together_and_continued_together(place, runs):
    _, two = runs
    kd = two.name.removesuffix("-two")
    stopped = place / f"{kd}-stopped"
    path = os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")])
    layers = () if kd == "kd" else ("kd=fitnet", "kd.terms.fitnet.student=1.inner", "kd.terms.fitnet.teacher=1.inner")
    arguments = [*JOB, *SHARDED, *layers, f"hydra.run.dir={stopped}", "teachers_dir=teachers-two"]
    errors = interrupted("training student mlp  epoch 1/3", *arguments, cwd=place, PYTHONPATH=path)
    assert "stopped in epoch" in errors
    done = command(f"resume={stopped}", "trust=own", cwd=place, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    before, after = load_file(two / "student.safetensors"), load_file(stopped / "student.safetensors")
    assert all(torch.allclose(value, after[name], atol=1e-6) for name, value in before.items())
    evaluated = subprocess.run(
        [sys.executable, str(ROOT / "evaluate.py"), f"run={stopped}", "trust=own"], cwd=place, capture_output=True,
        text=True, env={**os.environ, "PYTHONPATH": path}, check=False,
    )  # fmt: skip
    assert evaluated.returncode == 0, evaluated.stderr


ZOO = (*TINY, "trainer=fsdp", "trainer.devices=2", "trainer.accelerator=cpu")


def assert_kept(run):
    """The student of the last epoch is what the last checkpoint holds, and no initialisation."""
    last = json.loads((run / "summary.json").read_text())["student"]["last"]
    weights = load_file(run / last["weights"])
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(value, state[f"student.{name}"]) for name, value in weights.items())
    logged = curve(run)
    for name in ("loss", "acc"):
        assert logged[f"val/{name}"][-1] == pytest.approx(last["val"][name], rel=1e-5)
    learnt = [name for name in weights if name.endswith("running_mean")]
    assert learnt
    assert all(weights[name].abs().sum() > 0 for name in learnt)


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        ("kd=simkd", "trainer.precision=bf16-mixed", "trainer.accumulate_grad_batches=2"),
        ("kd=crd",),
        ("kd=ban", "kd.generations=2", "optimizer.momentum=0"),
    ],
)
def test_the_zoo_and_its_wrapper_its_memory_and_a_chain(tmp_path, more):
    """Convolutions are channels_last, and BatchNorm counts for itself."""
    done = command(*ZOO, *more, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = (path.parent for path in tmp_path.glob("outputs/*/*/summary.json"))
    assert_kept(run)


@pytest.mark.slow
def test_stopped_in_a_preparation_in_which_most_parameters_have_no_gradient(tmp_path):
    """And whose loss, at 256 channels, is large enough for a unit."""
    arguments = [*ZOO, "kd=ft", "teacher=resnet8x4", "kd.terms.ft.pretraining.epochs=3"]
    whole = command(*arguments, "hydra.run.dir=whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    interrupted(
        "training pretraining of ft for student resnet8  epoch 1/3", *arguments, "hydra.run.dir=part", cwd=tmp_path
    )
    done = command("resume=part", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    before, after = (load_file(tmp_path / run / "student.safetensors") for run in ("whole", "part"))
    assert all(torch.allclose(value, after[name], atol=1e-6) for name, value in before.items())


class Called(nn.Module):
    def __init__(self, *parts):
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x):
        return x


def test_blocks_are_units_and_layers_or_lists_are_not():
    large = int(UNIT**0.5) + 1
    block, small = Called(nn.Linear(large, large)), Called(nn.Linear(2, 2))
    outer = Called(block, nn.Linear(large, large), nn.Sequential(nn.Linear(large, large)))
    assert units(Called(outer, small)) == [block, outer]
    assert units(block) == []  # a model is gathered as a whole anyway
    assert units(Called(Called(block, small))) == [block]  # little is left around it


def test_a_parameter_with_two_places_stays_one():
    block = Called(nn.Linear(1001, 1001))
    model = Called(block, nn.Linear(1001, 1001))
    assert not _tied(model)
    model.parts[1].weight = block.parts[0].weight
    assert _tied(model)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("quantize=int8",), "trainer.strategy=fsdp cannot be combined with quantize=int8; trainer=ddp can"),
        (("trainer.precision=16-mixed",), "trainer.strategy=fsdp cannot be combined with trainer.precision=16-mixed"),
        (
            ("+trainer.sync_batchnorm=true",),
            "trainer.strategy=fsdp cannot be combined with trainer.sync_batchnorm=true",
        ),
        (("kd=dml",), "trainer.strategy=fsdp cannot be combined with students that teach each other"),
        (("data.batch_size=3",), "data.batch_size=3 is for all 2 processes together: at least 4"),
    ],
)
def test_mistakes(overrides, message):
    cfg = composed(*overrides, "trainer=fsdp", "trainer.devices=2")
    with pytest.raises(UserError, match=message):
        check(typed(cfg))
