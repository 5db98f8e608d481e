"""Which epoch's weights a run keeps: the best on validation, or the last."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import OmegaConf
from safetensors.torch import load_file

from distill.cli.claim import claim
from distill.evaluation.run_folder import RunFolder
from distill.training.best_epoch import prefer_later
from distill.training.evaluation_module import EvaluationModule
from distill.training.prepare import prepare
from distill.utils.errors import Interrupted
from jobs import TINY, composed, run_job, stop_at

RUN = (*TINY, "trainer.max_epochs=3", "teacher.recipe.max_epochs=2", "teacher=resnet14")


@pytest.fixture
def falling(monkeypatch):
    """Validation accuracy falls from epoch to epoch, so that the first is the best."""
    original = EvaluationModule.log_dict

    def log_dict(self, values, **settings):
        if "val/acc" in values and self.trainer.state.fn == "fit":
            values["val/acc"] = 1 / (1 + self.current_epoch)
        original(self, values, **settings)

    monkeypatch.setattr(EvaluationModule, "log_dict", log_dict)


def holds(weights, checkpoint):
    """Whether a weights file holds what the student of a checkpoint was."""
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    return all(torch.equal(value, state[f"student.{key}"]) for key, value in load_file(weights).items())


def test_of_equal_epochs_the_later_is_the_best():
    callback = ModelCheckpoint(monitor="val/acc", mode="max")
    callback.best_k_models, callback.kth_best_model_path = {"a": torch.tensor(0.5)}, "a"
    callback.best_model_score = torch.tensor(0.5)
    trainer = SimpleNamespace(strategy=SimpleNamespace(reduce_boolean_decision=bool))
    assert not callback.check_monitor_top_k(trainer, torch.tensor(0.5))
    prefer_later(callback)
    found = [callback.check_monitor_top_k(trainer, torch.tensor(score)) for score in (0.4, 0.5, 0.6)]
    assert found == [False, True, True]


def test_the_best_epoch_is_kept_and_a_resumed_run_keeps_it_too(tmp_path, falling, capsys, monkeypatch):
    run = tmp_path / "run"
    student = run_job(run, *RUN)["student"]
    said = capsys.readouterr().out
    assert "teacher resnet14: kept epoch 1 of 2, best on validation" in said
    assert "student resnet8: kept epoch 1 of 3, best on validation" in said
    assert [(student[key]["epoch"], student[key]["weights"]) for key in ("best", "last")] == [
        (1, "student.safetensors"),
        (3, "student-last.safetensors"),
    ]
    kept, last = run / "student.safetensors", run / "student-last.safetensors"
    assert holds(kept, run / "checkpoints" / "best.ckpt")
    assert holds(last, run / "checkpoints" / "last.ckpt")
    (teacher,) = tmp_path.glob("teachers/*/teacher.safetensors")
    assert holds(teacher, teacher.parent / "checkpoints" / "best.ckpt")
    assert not holds(teacher, teacher.parent / "checkpoints" / "last.ckpt")
    opened = RunFolder(run)
    assert (opened.weights, opened.tested) == (kept, opened.student_result.best)
    assert opened.summary.student.test == opened.student_result.best.test != opened.student_result.last.test
    stopped = tmp_path / "stopped"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        stop_at(patch, 6)
        run_job(stopped, *RUN)
    run_job(stopped, *RUN, f"resume={stopped}")
    for path in (kept, last):
        again = load_file(stopped / path.name)
        assert all(torch.equal(value, again[key]) for key, value in load_file(path).items())


def test_the_last_epoch_is_kept_where_that_is_wanted_or_no_other_is_there(tmp_path, falling, capsys):
    run = tmp_path / "run"
    student = run_job(run, *RUN, "load_best_model_at_end=false")["student"]
    assert "kept epoch" not in capsys.readouterr().out
    assert (student["last"]["weights"], student["best"]["weights"]) == (
        "student.safetensors",
        "student-best.safetensors",
    )
    assert holds(run / "student.safetensors", run / "checkpoints" / "last.ckpt")
    assert holds(run / "student-best.safetensors", run / "checkpoints" / "best.ckpt")
    (teacher,) = tmp_path.glob("teachers/*/teacher.safetensors")
    assert holds(teacher, teacher.parent / "checkpoints" / "last.ckpt")
    assert RunFolder(run).summary.student.test == student["last"]["test"]
    student = run_job(tmp_path / "none", *RUN, "callbacks.best=null")["student"]
    said = capsys.readouterr().out
    assert "student resnet8: kept epoch 3, the last: there is no checkpoint of the best on validation" in said
    assert f"found in {teacher}" in said
    assert "best" not in student


def test_the_epoch_that_is_kept_shapes_a_teacher(tmp_path):
    def inputs(*overrides):
        return prepare(composed(*RUN, *overrides), tmp_path).teachers[0].source.fingerprint_inputs

    assert inputs()["load_best_model_at_end"]["monitor"] == "val/acc"
    assert inputs() != inputs("trainer.limit_val_batches=1") != inputs("load_best_model_at_end=false")
    assert "load_best_model_at_end" not in inputs("load_best_model_at_end=false")


def test_a_run_of_before_is_resumed_as_it_began(tmp_path):
    cfg = composed(*RUN, f"resume={tmp_path}")
    before = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    del before["load_best_model_at_end"]
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(before)))
    assert claim(cfg, tmp_path, sweep=False)
    assert cfg.load_best_model_at_end is False
