"""Multiruns on real Ray clusters on this machine. GPUs are declared, not there: what counts is who is given which."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from itertools import combinations

import pytest

from distill.sweeps import jobs
from jobs import ROOT, TINY, command

pytest.importorskip("ray", reason="Ray is not installed: pip install 'distill[ray]'")
pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]
JOB = ("-m", "hydra/launcher=ray", *TINY, "logger=none", "trainer.accelerator=cpu")
GPUS = 4


def summaries(sweep):
    return {int(path.parent.name): json.loads(path.read_text()) for path in sweep.glob("*/summary.json")}


def device(report):
    return report["hardware"]["visible_devices"]


def spans(sweep):
    """When each job ran, in seconds since 1970."""
    found = {}
    for number, report in summaries(sweep).items():
        end = (sweep / str(number) / "summary.json").stat().st_mtime
        found[number] = (end - report["wall_s"], end)
    return found


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Five jobs on four declared GPUs; the process of the fourth, a longer one, is killed while it trains."""
    place = tmp_path_factory.mktemp("ray")
    launcher = (f"hydra.launcher.gpus={GPUS}", f"hydra.launcher.cpus={GPUS}")
    swept = ("trainer.max_epochs=2,3,4,40,5", "hydra.sweep.dir=killed")
    with (place / "out").open("w") as out, (place / "err").open("w") as err:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), *JOB, *launcher, *swept], cwd=place, stdout=out, stderr=err
        )
        status = place / "killed/3/status.json"
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and process.poll() is None:
            said = json.loads(status.read_text()) if status.exists() else {}
            if str(said.get("training")).startswith("student") and said["epoch"] > 2:
                os.kill(said["pid"], signal.SIGKILL)
                break
            time.sleep(0.1)
        process.wait(timeout=240)
    return process.returncode, (place / "out").read_text(), (place / "err").read_text(), place / "killed"


def test_a_killed_worker_leaves_the_others_alone(killed):
    status, _, errors, sweep = killed
    assert status == 1, errors
    assert sorted(summaries(sweep)) == [0, 1, 2, 4]
    assert "error: job 3: its worker process died" in errors
    assert f"1 failed of 5 jobs; run these again with: python {ROOT / 'train.py'} -m sweep.resume=killed" in errors
    assert "Traceback" not in errors
    assert json.loads((sweep / "3/failure.json").read_text())["kind"] == "died"


def test_concurrent_jobs_see_different_devices(killed):
    sweep = killed[-1]
    found = {number: device(report) for number, report in summaries(sweep).items()}
    assert set(found.values()) <= {"0", "1", "2", "3"}
    when = spans(sweep)
    together = [(a, b) for a, b in combinations(when, 2) if when[a][0] < when[b][1] and when[b][0] < when[a][1]]
    assert len(together) >= 3  # the first jobs at least
    assert all(found[a] != found[b] for a, b in together)


def test_the_teacher_is_trained_once(killed):
    origins = sorted(report["teacher"]["origin"] for report in summaries(killed[-1]).values())
    assert origins.count("trained") <= 1
    assert len(list((killed[-1].parent / "outputs/teachers").glob("*/teacher.safetensors"))) == 1


def test_progress_is_shown(killed):
    said = re.findall(r"\d of 5 done[^\n]*", killed[1])  # Ray prints workers' words in between, without an end
    assert len(said) == 5
    assert said[-1].startswith("4 of 5 done, 1 failed")


def test_resume_continues_the_killed_job(killed):
    sweep = killed[-1]
    before = (sweep / "0/summary.json").read_text()
    done = command(f"sweep.resume={sweep.name}", cwd=sweep.parent)
    assert done.returncode == 0, done.stderr
    assert sorted(summaries(sweep)) == [0, 1, 2, 3, 4]
    assert (sweep / "0/summary.json").read_text() == before
    assert "epoch 1/40" not in done.stdout
    assert "epoch 40/40" in done.stdout


def test_jobs_on_several_nodes(tmp_path):
    """Two nodes with one GPU each: two jobs at once that both see GPU 0 are on different ones."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "num_gpus": 1}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        cluster.add_node(**node)
        cluster.wait_for_nodes()
        address = f"hydra.launcher.address='{cluster.address}'"
        done = command(*JOB, address, "seed=0,1", "trainer.max_epochs=20", "hydra.sweep.dir=nodes", cwd=tmp_path)
    finally:
        cluster.shutdown()
    assert done.returncode == 0, done.stderr
    assert [device(report) for report in summaries(tmp_path / "nodes").values()] == ["0", "0"]
    (begun, ended), (other_begun, other_ended) = spans(tmp_path / "nodes").values()
    assert begun < other_ended
    assert other_begun < ended


def test_a_search_runs_its_trials_two_at_once(tmp_path):
    pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'distill[optuna]'")
    search = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweeper.at_once=2", "kd=none",
              "optimizer.lr=interval(0.01,0.3)", "trainer.max_epochs=40")  # fmt: skip
    done = command(*JOB, *search, "hydra.launcher.gpus=2", "hydra.launcher.cpus=2", "hydra.sweep.dir=s", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [job.state for job in jobs.jobs(tmp_path / "s")] == ["finished"] * 3
    when = spans(tmp_path / "s")
    assert when[0][0] < when[1][1]
    assert when[1][0] < when[0][1]
    assert {device(report) for report in summaries(tmp_path / "s").values()} == {"0", "1"}
    assert "optuna: best of 3 trials: number " in done.stdout


@pytest.mark.parametrize(
    ("knob", "message"),
    [
        ("gpus_per_job=5", "hydra.launcher.gpus_per_job=5: no machine has so many, at most 4"),
        ("gpus_per_job=1.5", "hydra.launcher.gpus_per_job must be a whole number or a fraction below 1, got 1.5"),
        ("jobs_at_once=0", "hydra.launcher.jobs_at_once must be a whole number from 1 or null, got 0"),
        ("memory_gb=much", "hydra.launcher.memory_gb must be a number from 0 or null, got 'much'"),
        ("gpu_per_job=1", "did you mean 'gpus_per_job'"),
    ],
)
def test_mistakes_are_one_line(knob, message, tmp_path):
    done = command(*JOB, "hydra.launcher.gpus=4", f"hydra.launcher.{knob}", "hydra.sweep.dir=wrong", cwd=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert message in done.stderr
