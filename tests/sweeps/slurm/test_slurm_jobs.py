"""What of hydra/launcher=slurm needs no Slurm: its options, what it says where Slurm is missing, what it reads.

tests/cluster/test_slurm.py runs it on a real one.
"""

import shutil

import pytest

from distill.sweeps.slurm import queue as slurm
from distill.sweeps.slurm.queue import QueueEntry
from distill.utils.errors import UserError
from hydra_plugins.distill_slurm import SlurmLauncher, _lost_reason
from jobs import command


def programs(folder, **scripts):
    """A folder of shell scripts that stand for Slurm's commands."""
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return str(folder)


def set_up(**options):
    SlurmLauncher(**options).setup(hydra_context=None, task_function=None, config=None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpus_per_job": 0.5}, "hydra.launcher.gpus_per_job must be a whole number from 0 or null, got 0.5"),
        ({"cpus_per_job": 0}, "hydra.launcher.cpus_per_job must be a whole number from 1 or null, got 0"),
        ({"memory_gb": "much"}, "hydra.launcher.memory_gb must be a number from 0.001 or null, got 'much'"),
        ({"timeout_min": 1.5}, "hydra.launcher.timeout_min must be a whole number from 1 or null, got 1.5"),
        ({"jobs_at_once": 0}, "hydra.launcher.jobs_at_once must be a whole number from 1 or null, got 0"),
        ({"stop_before_s": None}, "hydra.launcher.stop_before_s must be a number, got None"),
        ({"timeout_min": 2}, r"stop_before_s=120 must be below timeout_min=2 \(120 s\)"),
        ({"sbatch": ["exclude"]}, r"hydra.launcher.sbatch must be a dict or null, got \['exclude'\]"),
        ({"setup": "module load cuda"}, "hydra.launcher.setup must be a list or null, got 'module load cuda'"),
    ],
)
def test_bad_knobs(options, message):
    with pytest.raises(UserError, match=message):
        set_up(**options)


def test_without_submitit(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setitem(__import__("sys").modules, "submitit", None)
    with pytest.raises(UserError, match=r"needs submitit: pip install 'distill\[slurm\]'"):
        set_up()


def test_without_slurm_is_one_line(tmp_path):
    done = command("-m", "hydra/launcher=slurm", "kd.T=1,2", cwd=tmp_path, PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("error: hydra/launcher=slurm needs Slurm's commands, and this machine has no sbatch")
    assert done.stderr.count("\n") == 1


def test_a_mistyped_knob_is_named(tmp_path):
    done = command("-m", "hydra/launcher=slurm", "hydra.launcher.timeout=60", "kd.T=1,2", cwd=tmp_path)
    assert done.returncode == 1
    assert "there is no key 'hydra.launcher.timeout'; did you mean 'timeout_min'" in done.stderr


def test_the_queue_is_read(tmp_path, monkeypatch):
    rows = "12_0|RUNNING|None\\n12_1|PENDING|JobArrayTaskLimit\\n9|CANCELLED by 0|None\\n7|FAILED|NonZeroExitCode\\n"
    monkeypatch.setenv("PATH", programs(tmp_path, squeue=f"printf '{rows}'"), prepend=":")
    queue = slurm.queue()
    assert queue["12_1"] == QueueEntry("PENDING", "JobArrayTaskLimit")
    assert [job_id for job_id, entry in queue.items() if entry.ended] == ["9", "7"]


def test_a_silent_slurm_is_no_empty_queue(tmp_path, monkeypatch):
    script = "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1"
    monkeypatch.setenv("PATH", programs(tmp_path, squeue=script), prepend=":")
    with pytest.raises(UserError, match="Slurm does not answer: Unable to contact slurm controller"):
        slurm.queue()


def test_gpus_are_looked_for_in_the_partition(tmp_path, monkeypatch):
    rows = "cpu*|(null)\\ngpu|gpu:a100:4(S:0-1)\\n"
    script = f"""case "$*" in *partition=gpu*) printf 'gpu|gpu:a100:4\\n';; *) printf '{rows}';; esac"""
    monkeypatch.setenv("PATH", programs(tmp_path, sinfo=script), prepend=":")
    assert slurm.has_gpus("gpu")
    assert not slurm.has_gpus(None)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (QueueEntry("FAILED", ""), "its process died (killed, or out of memory); see s/.submitit/1_2_0_log.out"),
        (QueueEntry("TIMEOUT", ""), "Slurm ended it: TIMEOUT; see s/.submitit/1_2_0_log.out"),
        (None, "it left Slurm's queue without a word (see s/.submitit/1_2_0_log.out)"),
    ],
)
def test_why_a_job_has_no_result(entry, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _lost_reason(entry, "1_2", tmp_path / "s") == reason
