"""The package as users install it: built, installed without the checkout, and run from an empty folder."""

import json
import os
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest

from jobs import ROOT, TINY

pytestmark = pytest.mark.slow


def checked(command, **options):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=800, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the source distribution alone."""
    dist = tmp_path_factory.mktemp("dist")
    checked([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", dist], cwd=ROOT)
    (source,) = dist.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(dist, filter="data")
    folder = dist / source.name.removesuffix(".tar.gz")
    checked([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", dist], cwd=folder)
    return next(dist.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """An environment with the wheel; torch and the like are found in the environment of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    binaries = folder / "bin"
    checked([sys.executable, "-m", "pip", "--python", binaries / "python", "install", "--no-deps", "--no-index", wheel])
    packages = Path(
        checked([binaries / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
    )
    others = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "others.pth").write_text("\n".join(others))  # their own .pth files, as the checkout's, are not read
    return binaries


@pytest.fixture(scope="module")
def environment():
    return {**{k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}, "OMP_NUM_THREADS": "1"}


def test_everything_comes_from_the_wheel(installed, environment, tmp_path):
    code = (
        "import distill, distill.conf, hydra_plugins, json; from importlib.metadata import version; "
        "print(json.dumps([distill.__file__, *distill.conf.__path__, *hydra_plugins.__path__, version('distill')]))"
    )
    *paths, version = json.loads(checked([installed / "python", "-c", code], cwd=tmp_path, env=environment))
    assert len(paths) == 3
    assert all(Path(path).is_relative_to(installed.parent) for path in paths), paths
    assert version in (ROOT / "pyproject.toml").read_text()
    package = Path(paths[0]).parent
    for folder, suffix in (("conf", ".yaml"), ("", ".html"), ("", ".css"), ("", "py.typed")):
        source = {p.relative_to(ROOT / "src/distill") for p in (ROOT / "src/distill" / folder).rglob(f"*{suffix}")}
        assert source == {p.relative_to(package) for p in (package / folder).rglob(f"*{suffix}")}
        assert source


def test_the_main_job_and_what_follows_it(installed, environment, tmp_path):
    def run(*command):
        return checked([installed / command[0], *command[1:]], cwd=tmp_path, env=environment)

    assert "train" in run("distill")
    run("distill", "train", "model=resnet8", "teacher=resnet14", *TINY, "trainer.accelerator=cpu", "hydra.run.dir=run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["command"].startswith("distill train model=resnet8 ")
    assert (tmp_path / "outputs" / "teachers").is_dir()
    run("python", "-m", "distill", "evaluate", "run=run", "map=pca")
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["reproduced"]["equal"]
    assert (tmp_path / "run" / "report.html").is_file()
    run("distill", "export", "run=run", "format=safetensors", "seconds=0")
    assert (tmp_path / "run" / "export" / "README.md").is_file()


def test_several_devices_and_a_sweep(installed, environment, tmp_path):
    short = [*TINY, "kd=none", "trainer.max_epochs=1", "trainer.accelerator=cpu"]
    for arguments in (["trainer.devices=2", "hydra.run.dir=ddp"], ["-m", "seed=0,1", "hydra.sweep.dir=sweep"]):
        checked([installed / "distill", "train", *short, *arguments], cwd=tmp_path, env=environment)
    assert json.loads((tmp_path / "ddp" / "summary.json").read_text())["command"].startswith("distill train ")
    assert (tmp_path / "sweep" / "report.html").is_file()
    stopped = subprocess.run([installed / "distill", "train", "resume=sweep/0"], cwd=tmp_path, env=environment)
    assert stopped.returncode == 0
