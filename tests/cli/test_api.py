"""The commands as functions: typed results, errors raised, nothing left changed in the process."""

import logging
import os
import signal
import subprocess
import sys
import threading
import warnings

import hydra
import pytest
import torch

import distill
from distill.cli.api import as_overrides
from distill.training.evaluation_module import EvaluationModule
from distill.utils.errors import UserError

TINY = {
    "threads": 1,
    "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    "teacher.recipe.max_epochs": 1,
    "logger": "csv",
    "data.subset": 200,
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("settings", "overrides"),
    [
        (["kd.T=4", "-m"], ["kd.T=4", "-m"]),
        ({"kd.T": 4, "resume": None, "channels_last": False}, ["kd.T=4", "resume=null", "channels_last=false"]),
        ({"data": {"root": "my photos, new"}}, ["data.root='my photos, new'"]),
        ({"kd.teachers": ["resnet14", {"model": "vgg8"}]}, ["kd.teachers=[resnet14,{model:vgg8}]"]),
        ({"data.augment": {}}, ["data.augment={}"]),
    ],
)
def test_settings_become_overrides(settings, overrides):
    assert as_overrides(settings) == overrides


def test_a_run_returns_its_summary_and_leaves_the_process_as_it_was(folder):
    def state():
        loggers = [logging.getLogger(), logging.getLogger("distill")]
        handlers = [(list(logger.handlers), logger.level, logger.propagate) for logger in loggers]
        return sys.argv, dict(os.environ), torch.get_num_threads(), handlers, list(warnings.filters)

    torch.set_num_threads(2)
    before = state()
    summary = distill.train(TINY, output_dir="a run, [1]")
    assert (folder / "a run, [1]" / "student.safetensors").is_file()
    assert summary.student.size.parameters < summary.teacher.size.parameters
    assert 0 <= summary.student.last.test["acc"] <= 1
    after = state()
    torch.set_num_threads(1)
    assert after == before
    model = distill.load("a run, [1]")
    assert len(model.classes) == 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model=resnt8"], r"model has no option 'resnt8'; did you mean 'resnet8'"),
        ({"kd.TT": 1}, r"there is no key 'kd.TT'"),
        ({"kd.T": -1}, r"kd\.T must be"),
        ({"data.subset": 200, "trainer.limit_trian_batches": 2}, r"limit_train_batches"),
        ("kd.T=4", r"overrides are a list or a mapping"),
        (["-m", "kd.T=1,2"], r"distill\.sweep"),
        (["--cfg", "job"], r"--cfg is no override"),
        (["model=torchvision", "model.name=resnet1"], r"resnet1"),
    ],
)
def test_a_mistake_is_raised_as_one_line(folder, settings, message):
    with pytest.raises(UserError, match=message) as caught:
        distill.train(settings)
    assert "\n" not in str(caught.value)


def test_a_sweep_returns_what_finished_and_what_failed(folder):
    found = distill.sweep({**TINY, "kd": "none"}, over={"seed": [0, 1], "kd.label_smoothing": [0.1]}, output_dir="s")
    assert [run.seed for run in found.runs] == [0, 1]
    assert (found.folder / "report.html").is_file()
    assert found.failures == {}


def test_a_failed_job_is_no_error_of_the_others(folder):
    found = distill.sweep({**TINY, "kd": "none"}, over={"optimizer.lr": [0.1, -1]}, output_dir="s")
    assert len(found.runs) == 1
    assert list(found.failures) == [1]


def test_values_of_a_swept_key_are_listed(folder):
    with pytest.raises(UserError, match="must list the values"):
        distill.sweep(TINY, over={"kd.T": 4})


def test_importing_the_package_imports_nothing_heavy():
    code = "import distill, sys; print('torch' in sys.modules, 'hydra' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]


def test_a_thread_may_run_it(folder):
    summaries = []
    thread = threading.Thread(target=lambda: summaries.append(distill.train({**TINY, "kd": "none"}, output_dir="t")))
    thread.start()
    thread.join()
    assert summaries[0].student.last.epoch == 1


def test_an_application_of_hydra_keeps_its_own(folder):
    (folder / "conf").mkdir()
    (folder / "conf" / "app.yaml").write_text("x: 1\n")
    with hydra.initialize_config_dir(str(folder / "conf"), version_base="1.3"):
        distill.train({**TINY, "kd": "none"}, output_dir="t")
        distill.Distiller(torch.nn.Linear(4, 3), torch.nn.Linear(4, 3))
        assert hydra.compose("app").x == 1


def test_sigterm_in_the_final_test_says_how_to_continue(folder, monkeypatch):
    monkeypatch.setattr(EvaluationModule, "test_step", lambda *_: os.kill(os.getpid(), signal.SIGTERM), raising=True)
    with pytest.raises(KeyboardInterrupt, match=r"stopped by SIGTERM; continue with: .*train resume=run"):
        distill.train(TINY | {"kd": "none"}, output_dir="run")
    monkeypatch.undo()
    assert distill.train({"resume": str(folder / "run")}).student.last.test["acc"] > 0
