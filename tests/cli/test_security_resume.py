"""A run or sweep of somebody else resumed: nothing that its record names is executed unless the command names it."""

import json
import os
import sys

import pytest

from attacks import attack
from distill.cli.train import execute
from distill.config import command_line
from distill.sweeps import jobs as sweep_jobs, record
from distill.utils.errors import UserError
from jobs import TINY, command
from own_model import OWN


@pytest.fixture
def stopped(distilled, tmp_path, marker, monkeypatch):
    """A run of somebody else that ``resume=`` could continue."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def make(*overrides, config_dir=None, file="command.yaml"):
        folder = tmp_path / "stopped"
        folder.mkdir()
        (folder / file).write_text(json.dumps({"overrides": [*TINY, *overrides], "config_dir": config_dir}))
        return folder

    return make


def words(node):
    return command_line.hydra_value(node)


@pytest.mark.parametrize("key", [
    "model", "teacher", "kd.terms.kd.loss", "kd.flow", "kd.student_wrapper", "kd.ensemble",
    "data.source", "data.transform", "optimizer", "scheduler", "teacher.recipe.optimizer", "teacher.recipe.scheduler",
    "callbacks.best", "callbacks.mine", "logger.mine", "model.inner", "trainer.profiler",
])  # fmt: skip
def test_resume_executes_nothing_that_the_record_names(stopped, tmp_path, marker, key):
    nothing_yet = key in ("kd.flow", "kd.ensemble", "trainer.profiler")
    node = attack("torch_hub", tmp_path)
    leaves = [f"++{key}={words(node)}"] if nothing_yet else [f"++{key}.{name}={words(node[name])}" for name in node]
    folder = stopped(*(["kd=simkd"] if key == "kd.student_wrapper" else []), *leaves)
    named = rf"{key}\._target_ in stopped/command\.yaml names torch\.hub"
    elsewhere = rf".* has \+\+{key}\.repo_or_dir=/"  # refused before
    with pytest.raises(UserError, match=f"^{elsewhere if key.startswith(('callbacks', 'logger')) else named}"):
        execute(["resume=stopped"])
    assert not marker.exists()
    assert not (folder / "config.yaml").exists()


@pytest.mark.parametrize("key", ["kd.teachers", "kd.assistants", "kd.peers"])
def test_nor_among_models_in_lists(stopped, tmp_path, marker, key):
    stopped(f"{key}=[{words(attack('torch_hub', tmp_path))}]")
    with pytest.raises(UserError, match=rf"^{key}\.0\._target_ in stopped/command\.yaml names torch\.hub"):
        execute(["resume=stopped"])
    assert not marker.exists()


@pytest.mark.parametrize("override", [
    "+hydra.callbacks.mine={node}", "hydra.sweeper={node}", "hydra.launcher={node}", "--config-dir={folder}",
    "hydra.searchpath=[file://{folder}]", "--experimental-rerun={folder}/x", "+hydra.job_logging.root.x={node}",
    "hydra.job.env_set.X=1", "kd.T=${{oc.env:HOME}}",
])  # fmt: skip
@pytest.mark.parametrize("file", ["command.yaml", "sweep.yaml"])
def test_resume_repeats_no_override_of_hydra_itself(stopped, tmp_path, marker, override, file):
    text = override.format(node=words(attack("torch_hub", tmp_path)), folder=tmp_path)
    stopped(text, file=file)
    with pytest.raises(UserError, match=rf"^stopped/{file}( has .* is not repeated unasked|: '--.*' is no override)"):
        execute(["resume=stopped"])
    assert not marker.exists()


def test_a_recorded_folder_of_yaml_files_is_not_followed(stopped, tmp_path, marker):
    """Its files could name anything, also for Hydra itself."""
    evil = tmp_path / "evil conf"
    (evil / "experiment").mkdir(parents=True)
    node = json.dumps(attack("torch_hub", tmp_path))
    (evil / "experiment" / "x.yaml").write_text(f"# @package _global_\nhydra: {{callbacks: {{mine: {node}}}}}\n")
    stopped("experiment=x", config_dir=str(evil))
    with pytest.raises(UserError, match=rf"names {evil} as the folder .* add --config-dir '{evil}'$"):
        execute(["resume=stopped"])
    assert not marker.exists()


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "overrides: 3",
        "overrides: [a]",
        "[]",
        "7",
        "",
        "config_dir: null",
        "a: !!python/object/apply:os.system [x]",
        "a: &a [x, x]\noverrides: [*a]\nconfig_dir: null",
    ],
)
def test_a_broken_record_is_one_line(stopped, text):
    (stopped() / "command.yaml").write_text(text)
    with pytest.raises(UserError, match=r"^stopped/command\.yaml(:| )"):
        execute(["resume=stopped"])


def test_the_printed_command_has_what_is_not_repeated_unasked(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    overrides = ["hydra/launcher=slurm", "hydra.launcher.setup=[module load cuda]", "model._target_=my_models.net",
                 "data.root=${oc.env:DATA}", "kd.T=1,2", "hydra.sweep.dir=/tmp/s"]  # fmt: skip
    record.begin(tmp_path, {"overrides": overrides, "config_dir": "my conf"}, "slurm", 2)
    assert sweep_jobs.again(tmp_path) == (
        f"python train.py -m --config-dir 'my conf' sweep.resume={tmp_path} "
        "'hydra.launcher.setup=[module load cuda]' 'data.root=${oc.env:DATA}' trust=my_models"
    )


def test_trust_belongs_to_a_folder(monkeypatch):
    with pytest.raises(UserError, match=r"^trust= belongs to resume="):
        execute(["trust=my_models"])


@pytest.mark.slow
def test_resume_of_an_own_model(tmp_path, tmp_path_factory):
    """What to add is one line; targets that the command itself names need no more."""
    own = tmp_path_factory.mktemp("own")
    (own / "my_models.py").write_text(OWN)
    path = os.pathsep.join([str(own), os.environ.get("PYTHONPATH", "")])
    config = tmp_path / "conf" / "model"
    config.mkdir(parents=True)
    (config / "mine.yaml").write_text("_target_: my_models.net\n")
    for name, flags, model, again in (
        ("a", (), "model={_target_:my_models.net}", ["trust=my_models"]),
        ("b", (), "model={_target_:my_models.net}", ["model={_target_:my_models.net}"]),
        ("c", ("--config-dir", str(tmp_path / "conf")), "model=mine", ["--config-dir", str(tmp_path / "conf")]),
    ):
        done = command(*flags, *TINY, model, "kd=none", f"hydra.run.dir={name}", cwd=tmp_path, PYTHONPATH=path)
        assert done.returncode == 0, done.stderr
        (tmp_path / name / "summary.json").unlink()
        refused = command(f"resume={name}", cwd=tmp_path, PYTHONPATH=path)
        assert refused.returncode == 1
        assert len(refused.stderr.strip().splitlines()) == 1
        assert refused.stderr.strip().endswith(f"add {' '.join(again)}" if name != "b" else "add trust=my_models")
        done = command(f"resume={name}", *again, cwd=tmp_path, PYTHONPATH=path)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / name / "summary.json").is_file()
