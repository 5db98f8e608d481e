"""A run's folder is judged before torch is imported, by every command that takes one."""

import subprocess
import sys

import pytest

from distill.evaluation.run_folder import RunFolder
from distill.utils.errors import UserError
from jobs import ROOT
from summaries import student, write_summary

HEAVY = {"torch", "lightning", "torchvision", "numpy", "sklearn", "torchmetrics", "onnxruntime"}


def finished(folder):
    """The least that a finished run leaves, with weights that are cut short."""
    write_summary(folder, student=student())
    (folder / "student.safetensors").write_bytes(b"\x40\0\0\0\0\0\0\0{")
    return folder


@pytest.mark.parametrize(
    ("command", "place"),
    [
        ("evaluate.py run={}", "empty"),
        ("export.py run={}", "empty"),
        ("predict.py run={} image.png", "empty"),
        ("compare.py {} {}x", "empty"),
        ("evaluate.py run={}", "half"),
        ("export.py run={}", "half"),
        ("predict.py run={} image.png", "half"),
    ],
)
def test_a_wrong_folder_is_answered_before_anything_heavy(command, place, tmp_path):
    (tmp_path / "empty").mkdir()
    finished(tmp_path / "half")
    script, *rest = command.replace("{}", str(tmp_path / place)).split()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", ROOT / script, *rest], capture_output=True, text=True, cwd=tmp_path
    )
    lines = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    said = "is no run's folder" if place == "empty" else "no readable safetensors file"
    assert done.returncode == 1
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert said in lines[0]
    assert not imported & HEAVY
    assert "distill.evaluation.run_folder" in imported


def test_a_checkpoint_to_resume_from_is_told_from_weights(tmp_path):
    run = finished(tmp_path / "run")
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(UserError, match=r"last.ckpt is there to resume from; .*run/student.safetensors"):
        RunFolder(run / "checkpoints" / "last.ckpt")
