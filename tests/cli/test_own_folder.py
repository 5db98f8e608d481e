"""The commands write into the folders of runs, and nothing else into the current one."""

import subprocess
import sys

import pytest

from jobs import TINY


@pytest.mark.slow
def test_nothing_is_written_into_the_current_folder_but_outputs(tmp_path):
    run, sweep = "outputs/run", "outputs/sweep"
    commands = (
        ["train", *TINY, "teacher=resnet14", f"hydra.run.dir={run}"],
        ["train", "-m", *TINY, "kd=none", "seed=0,1", f"hydra.sweep.dir={sweep}"],
        ["evaluate", f"run={run}", "map=pca"],
        ["export", f"run={run}", "format=[onnx,torch_export,safetensors]", "quantize=int8", "seconds=0",
         "max_accuracy_drop=1"],
        ["report", sweep],
        ["table", "outputs"],
    )  # fmt: skip
    for arguments in commands:
        done = subprocess.run(
            [sys.executable, "-m", "distill", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (arguments, done.stderr)
        assert [path.name for path in tmp_path.iterdir()] == ["outputs"], arguments
    for file in ("run/report.html", "run/evaluation.json", "run/export/model.onnx", "sweep/report.html"):
        assert (tmp_path / "outputs" / file).is_file()
