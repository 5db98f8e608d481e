import shutil
import warnings
from types import SimpleNamespace

import pytest

from distill.config.schema import TrainerConfig, typed
from distill.config.validation import check
from distill.tasks.info import CLASSIFICATION, Metric
from distill.training.trainer import _monitoring, check_arguments, check_limits, evaluator, quiet, trainer_factory
from distill.utils.errors import UserError
from jobs import composed

CPU = TrainerConfig(accelerator="cpu", devices=1, limit_val_batches=1.0, limit_test_batches=1.0)


def test_a_machine_with_slurm_is_no_news(monkeypatch):
    """Lightning suggests ``srun`` wherever it is installed."""
    monkeypatch.setattr(shutil, "which", lambda name, *_: f"/bin/{name}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quiet()
        evaluator(CPU, "32-true")


@pytest.mark.parametrize(("direction", "mode"), [("min", "min"), ("max", "max")])
def test_checkpoints_and_early_stopping_follow_the_scores_direction(tmp_path, direction, mode):
    score = Metric("rmse", "RMSE", direction, "number")
    assert _monitoring({"monitor": "val/rmse"}, tmp_path, CPU, score)["mode"] == mode
    assert "mode" not in _monitoring({"monitor": "val/mae"}, tmp_path, CPU, score)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("+trainer.overfit_batches=1", r"overfit_batches=1 is not used here: data.subset="),
        ("+trainer.fast_dev_run=true", r"fast_dev_run=True is not used here: trainer.max_epochs=1 with"),
        ("+trainer.max_steps=3", r"max_steps=3 is not used here: .* trainer.max_epochs"),
        ("+trainer.max_time=00:01:00:00", r"max_time=.* is not used here: .* resume="),
        ("+trainer.val_check_interval=0.5", r"val_check_interval=0.5 is not used here: .*check_val_every_n_epoch"),
        ("+trainer.val_check_interval=1", r"val_check_interval=1 is not used here"),
        ("+trainer.callbacks=[]", r"callbacks=\[\] is not used here: .* group callbacks"),
        ("+trainer.logger=false", r"logger=False is not used here: .* group logger"),
        ("+trainer.num_sanity_val_steps=2", r"num_sanity_val_steps=2 is not used here"),
        ("+trainer.use_distributed_sampler=true", r"use_distributed_sampler=True is not used here"),
        ("+trainer.reload_dataloaders_every_n_epochs=1", r"reload_dataloaders_every_n_epochs=1 is not used here"),
        ("+trainer.barebones=true", r"barebones=True is not used here"),
        ("+trainer.enable_checkpointing=false", r"enable_checkpointing=False is not used here"),
        ("+trainer.detect_anomaly=perhaps", r"detect_anomaly must be true or false, got 'perhaps'"),
        ("trainer.deterministic=perhaps", r"deterministic must be true, false or warn, got 'perhaps'"),
        ("+trainer.profiler=simpel", r"profiler=simpel is unknown; did you mean 'simple'\?"),
        ("+trainer.min_epochs=-5", r"min_epochs must be a number up to trainer.max_epochs, got -5"),
        ("trainer.check_val_every_n_epoch=0", r"check_val_every_n_epoch must be at least 1, got 0"),
        ("trainer.limit_train_batches=0", r"limit_train_batches must be above 0, got 0"),
        ("trainer.limit_train_batches=1.5", r"limit_train_batches, it has to be in \[0.0, 1.0\] or an int"),
        ("+trainer.gradient_clip_algorithm=mean", r"`gradient_clip_algorithm` mean is invalid"),
        ("+trainer.limit_trian_batches=2", r"takes no 'limit_trian_batches'; did you mean .*'limit_train_batches'"),
    ],
)
def test_an_argument_without_a_place_is_refused_before_any_training(argument, message):
    cfg = typed(composed(argument))
    with pytest.raises(UserError, match=rf"^trainer.*{message}"):
        check(cfg)
        check_arguments(cfg.trainer)


@pytest.mark.parametrize(
    "arguments",
    [
        ("trainer.accumulate_grad_batches=4", "trainer.gradient_clip_val=1", "+trainer.gradient_clip_algorithm=value"),
        ("trainer.deterministic=warn", "+trainer.detect_anomaly=true", "+trainer.benchmark=false"),
        ("trainer.limit_train_batches=0.5", "trainer.limit_val_batches=3", "+trainer.min_epochs=2"),
        ("+trainer.max_steps=-1", "+trainer.fast_dev_run=false", "+trainer.num_sanity_val_steps=0"),
    ],
)
def test_what_works_is_taken(arguments):
    cfg = typed(composed(*arguments))
    check(cfg)
    check_arguments(cfg.trainer)


def test_a_limit_leaves_a_batch():
    data = SimpleNamespace(**{f"{split}_dataloader": lambda: range(3) for split in ("train", "val", "test")})
    check_limits(TrainerConfig(limit_train_batches=0.34, limit_val_batches=1.0, limit_test_batches=2), data)
    with pytest.raises(UserError, match=r"limit_val_batches=0.3 of 3 batches is none; .*limit_val_batches=1 is one"):
        check_limits(TrainerConfig(limit_val_batches=0.3), data)


def test_the_best_epoch_is_one_that_was_validated(tmp_path):
    for every in (1, 3):
        cfg = typed(composed(f"trainer.check_val_every_n_epoch={every}", "logger=none", "trainer.accelerator=cpu"))
        trainer = trainer_factory(cfg, CLASSIFICATION.chooses)(tmp_path, "student", precision="32-true")
        best = {callback.filename: callback for callback in trainer.checkpoint_callbacks}
        assert (best["best"]._every_n_epochs, best["last"]._every_n_epochs) == (every, 1)


def test_a_profile_is_kept_in_the_folder(tmp_path):
    cfg = typed(composed("+trainer.profiler=simple", "logger=none", "trainer.accelerator=cpu"))
    profiler = trainer_factory(cfg, CLASSIFICATION.chooses)(tmp_path, "student", precision="32-true").profiler
    assert (type(profiler).__name__, profiler.dirpath) == ("SimpleProfiler", tmp_path)
