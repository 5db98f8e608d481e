"""A run that was stopped and continued equals one that was not."""

import json
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from distill.training.callbacks import GracefulStop
from distill.utils.errors import Interrupted, UserError
from jobs import ROOT, command, run_job, stop_at

pytestmark = pytest.mark.slow
RUN = ("data.subset=200", "trainer.max_epochs=3", "teacher.recipe.max_epochs=2", "logger=csv", "kd=combined")


def student(folder):
    return load_file(folder / "student.safetensors")


def assert_equal(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(v, b[k]) for k, v in a.items())


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs") / "whole"
    run_job(folder, *RUN)
    return folder


@pytest.mark.parametrize("step", [1, 4, 6, 8, 10, 12])
def test_stopped_by_hand_at_any_step(uninterrupted, monkeypatch, step):
    folder = uninterrupted.parent / f"stopped-{step}"
    with monkeypatch.context() as patch, pytest.raises(Interrupted, match=f"after step {step}"):
        stop_at(patch, step)
        run_job(folder, *RUN)
    assert not (folder / "summary.json").exists()
    report = run_job(folder, *RUN, f"resume={folder}")
    assert report["resumed"]
    assert report["student"].get("partial_train", False) == (step == 10)  # within the last epoch
    assert_equal(student(uninterrupted), student(folder))
    whole = torch.load(uninterrupted / "checkpoints" / "last.ckpt", weights_only=True)
    again = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert (whole["epoch"], whole["global_step"]) == (again["epoch"], again["global_step"])


@pytest.mark.parametrize(("change", "step"), [("limit_train_batches=2", 2), ("accumulate_grad_batches=3", 1)])
def test_short_epochs_and_accumulated_gradients_are_continued_alike(tmp_path, monkeypatch, change, step):
    run = (*RUN, f"trainer.{change}", "kd=none", "data.batch_size=32")
    run_job(tmp_path / "whole", *run)
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        stop_at(patch, step)
        run_job(tmp_path / "stopped", *run)
    run_job(tmp_path / "stopped", *run, f"resume={tmp_path / 'stopped'}")
    assert_equal(student(tmp_path / "whole"), student(tmp_path / "stopped"))


def test_killed_in_mid_epoch_goes_on_from_the_last_epochs_checkpoint(uninterrupted, monkeypatch):
    folder = uninterrupted.parent / "killed"
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        stop_at(patch, 10, error=RuntimeError("killed"))
        run_job(folder, *RUN)
    run_job(folder, *RUN, f"resume={folder / 'checkpoints' / 'last.ckpt'}")
    assert_equal(student(uninterrupted), student(folder))


@pytest.mark.parametrize("step", [None, 10])
def test_killed_after_its_last_checkpoint_a_training_keeps_its_last_epochs_metrics(uninterrupted, monkeypatch, step):
    """Nothing is left to be trained; ``step``: the run had been continued within its last epoch before."""
    folder = uninterrupted.parent / f"killed-{step}"
    if step is not None:
        with monkeypatch.context() as patch, pytest.raises(Interrupted):
            stop_at(patch, step)
            run_job(folder, *RUN)
    run_job(folder, *RUN, *([f"resume={folder}"] if step else []))
    expected = json.loads((folder / "summary.json").read_text())["student"]
    for name in ("summary.json", "finished.json"):
        (folder / name).unlink()
    actual = run_job(folder, *RUN, f"resume={folder}")["student"]
    assert {"loss", "acc"} <= expected["train"].keys()
    assert actual["train"] == expected["train"]
    assert (actual.get("partial_train"), actual["last"]["epoch"]) == (expected.get("partial_train"), 3)


def test_a_finished_training_stays_at_its_last_epoch(uninterrupted):
    """Whichever of its checkpoints is given; the run itself was stopped before its summary."""
    folder = uninterrupted.parent / "finished"
    shutil.copytree(uninterrupted, folder)
    (folder / "summary.json").unlink()
    best = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    best["state_dict"] = {name: torch.zeros_like(value) for name, value in best["state_dict"].items()}
    torch.save(best, folder / "checkpoints" / "best.ckpt")
    report = run_job(folder, *RUN, f"resume={folder / 'checkpoints' / 'best.ckpt'}")
    assert report["student"]["last"]["epoch"] == 3
    assert_equal(student(uninterrupted), student(folder))


def test_a_teacher_that_was_stopped_goes_on_too(tmp_path, monkeypatch):
    whole = run_job(tmp_path / "a" / "run", *RUN, "only=teacher")
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        original = GracefulStop.on_train_batch_end

        def patched(self, trainer, *args):
            self.requested = trainer.global_step == 5
            original(self, trainer, *args)

        patch.setattr(GracefulStop, "on_train_batch_end", patched)
        run_job(tmp_path / "b" / "run", *RUN, "only=teacher")
    again = run_job(tmp_path / "b" / "run2", *RUN, "only=teacher")
    assert again["teacher"]["origin"] == "trained"
    assert_equal(load_file(whole["teacher"]["path"]), load_file(again["teacher"]["path"]))


def test_a_checkpoint_of_another_student_or_half_a_file_is_an_error(uninterrupted):
    last = uninterrupted / "checkpoints" / "last.ckpt"
    with pytest.raises(UserError, match="does not fit this configuration"):
        run_job(uninterrupted.parent / "other", *RUN, "model=resnet14", f"resume={last}")
    half = uninterrupted.parent / "half.ckpt"
    half.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(UserError, match="half.ckpt is no readable torch file"):
        run_job(uninterrupted.parent / "other", *RUN, f"resume={half}")


def test_ctrl_c_from_the_command_line(tmp_path):
    arguments = ["kd=none", "trainer.max_epochs=20", f"hydra.run.dir={tmp_path}/run"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        for line in process.stdout:
            if "epoch 2/20" in line:
                break
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=600)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Stopping after this step" in errors
    last = errors.strip().splitlines()[-1]
    assert "stopped in epoch" in last
    assert f"continue with: python {ROOT / 'train.py'} resume=" in last
    assert "Traceback" not in errors
    folder = last.rpartition("resume=")[2]
    done = command(f"resume={folder}")
    assert done.returncode == 0, done.stderr
    assert "epoch 20/20" in done.stdout
    assert "epoch 1/20" not in done.stdout
    assert (tmp_path / "run" / "summary.json").exists()
    again = command("kd=none", f"hydra.run.dir={tmp_path}/run")
    assert again.returncode == 1
    assert "holds a run already: continue it with resume=" in again.stderr


def test_the_record_of_a_run_survives_wrong_resumes(tmp_path):
    """With a --config-dir of one's own; a failed resume leaves the run as it was."""
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "small.yaml").write_text(
        "_target_: distill.models.ResNet\ndepth: 8\nwidths: [8, 8, 16, 16]\n"
    )
    run, mine = tmp_path / "run", ["--config-dir", tmp_path / "mine"]
    short = ["kd=none", "data.subset=200", "trainer.max_epochs=2", "threads=1", "logger=none"]
    made = command(*mine, "model=small", *short, f"hydra.run.dir={run}")
    assert made.returncode == 0, made.stderr
    (run / "summary.json").unlink()  # as if it had been stopped
    for wrong, message in [
        ("kd.alpha=3", "kd.alpha must be in"),
        ("model=resnet14", "resume continues a run as it was: model"),
        ("trainer.max_epochs=5", "trainer.max_epochs was 2 and is 5 now; start a new run"),
    ]:
        done = command(*mine, f"resume={run}", wrong)
        assert done.returncode == 1
        assert len(done.stderr.strip().splitlines()) == 1
        assert message in done.stderr
    done = command(*mine, f"resume={run}", "trainer.log_every_n_steps=1")
    assert done.returncode == 0, done.stderr
    assert (run / "summary.json").exists()
    unasked = command(f"resume={run}")
    assert unasked.returncode == 1
    assert unasked.stderr.strip().endswith(f"add --config-dir {tmp_path / 'mine'}")
    again = command(*mine, f"resume={run}")
    assert again.returncode == 0
    assert "is finished already" in again.stdout
