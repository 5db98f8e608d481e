"""Whole searches with Optuna in processes of their own: pruned, killed and resumed, shared by two commands."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distill.sweeps import jobs, record
from jobs import ROOT, command

optuna = pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'distill[optuna]'")

from distill.sweeps.optuna import trial  # noqa: E402

ALONE = ("kd=none", "threads=1", "logger=none", "data.subset=600")
RATES = ("optimizer.lr=tag(log,interval(1e-6,0.3))", "trainer.max_epochs=5", "hydra.sweeper.n_trials=6",
         "hydra.sweeper.pruner_args={n_startup_trials: 2}")  # fmt: skip


def results(sweep):
    """Each trial's settings and how it ended, as the folders say."""
    found = {}
    for job in jobs.jobs(sweep):
        end = record.val_score(job) if job.summary else (job.status["epoch"], job.status["val_score"])
        found[job.folder.name] = (job.overrides["optimizer.lr"], job.state, end)
    return found


@pytest.fixture
def begun():
    """Starts a search in a process of its own, which ends with the test."""
    processes = []

    def start(place, *arguments):
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), "-m", "hydra/sweeper=optuna", *ALONE, *arguments],
            cwd=place, env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def wait_for(path, seconds=200):
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """Learning rates of which most are hopeless."""
    place = tmp_path_factory.mktemp("search")
    done = command("-m", "hydra/sweeper=optuna", *ALONE, *RATES, "hydra.sweep.dir=whole", cwd=place)
    assert done.returncode == 0, done.stderr
    return done, place / "whole"


@pytest.mark.slow
def test_hopeless_trials_are_stopped_early(searched):
    done, sweep = searched
    found = results(sweep)
    assert len(found) == 6
    pruned = {name: (float(lr), end) for name, (lr, state, end) in found.items() if state == "pruned"}
    finished = {name: (float(lr), end) for name, (lr, state, end) in found.items() if state == "finished"}
    assert len(pruned) >= 2
    assert len(pruned) + len(finished) == 6
    best = max(acc for _, acc in finished.values())
    assert all(epoch < 5 and acc < best / 2 for _, (epoch, acc) in pruned.values())
    assert max(lr for lr, _ in pruned.values()) < max(lr for lr, _ in finished.values())

    def line(name):
        return next(line for line in done.stdout.splitlines() if line.startswith(f"job {name} ("))

    for name, (_, (epoch, _)) in pruned.items():
        assert f"pruned after epoch {epoch} at " in line(name)
        assert not list((sweep / name).glob("student*.safetensors"))
    assert f"; {len(finished)} of 6 done, {len(pruned)} pruned, best" in done.stdout


def best_line(done):
    return next(line for line in done.stdout.splitlines() if line.startswith("optuna: best of "))


@pytest.mark.slow
def test_the_best_is_that_of_the_summaries_and_its_command_gives_it_again(searched):
    done, sweep = searched
    best = max(end for _, state, end in results(sweep).values() if state == "finished")
    study = trial.open_study(trial.StudyConfig(str(sweep / "study.journal"), "distill"))
    assert study.best_value == best
    line = best_line(done)
    assert line.startswith(f"optuna: best of 6 trials: number {study.best_trial.number}, {100 * best:.2f} %")
    python, script, *arguments = shlex.split(line.partition("on validation: ")[2])
    assert (python, Path(script).name) == ("python", "train.py")
    again = command(*arguments, "hydra.run.dir=again", cwd=sweep.parent)
    assert again.returncode == 0, again.stderr
    assert record.val_score(jobs.read(sweep.parent / "again")) == best


@pytest.mark.slow
def test_a_search_killed_and_resumed_is_the_same_search(searched, begun):
    whole = searched[1]
    sweep = whole.parent / "killed"
    process = begun(sweep.parent, *RATES, "hydra.sweep.dir=killed")
    wait_for(sweep / "1/checkpoints/last.ckpt")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [job.state for job in jobs.jobs(sweep)] == ["finished", "stopped"]
    again = command("-m", f"sweep.resume={sweep.name}", cwd=sweep.parent)
    assert again.returncode == 0, again.stderr
    assert results(sweep) == results(whole)
    kept = (sweep / "sweep.yaml").read_text()
    wrong = command(f"sweep.resume={sweep.name}", "optimizer.lr=interval(0.1,1)", cwd=sweep.parent)
    assert wrong.returncode == 1
    assert "error: the study searched other ranges before (of optimizer.lr); choose" in wrong.stderr
    assert (sweep / "sweep.yaml").read_text() == kept
    assert "epoch 1/5" not in again.stdout.partition("sweep: ")[0]  # it goes on from its checkpoint
    assert best_line(again) == best_line(searched[0])


@pytest.mark.slow
def test_two_commands_share_a_study_and_a_failed_trial_stays_with_its_own(tmp_path, begun):
    shared = ("hydra.sweeper.storage=sqlite:///shared.db", "hydra.sweeper.sampler=random", "hydra.sweeper.n_trials=6")
    swept = ("optimizer.lr=0.1,-1", "seed=range(0,1000)", "trainer.max_epochs=1")
    processes = {"a": begun(tmp_path, *swept, *shared, "hydra.sweep.dir=a")}
    wait_for(tmp_path / "a/0/trial.json")
    processes["a"].send_signal(signal.SIGSTOP)  # it imports: the other one has time to begin
    processes["b"] = begun(tmp_path, *swept, *shared, "hydra.sweep.dir=b")
    wait_for(tmp_path / "b/1/trial.json")
    processes["a"].send_signal(signal.SIGCONT)
    said = {name: process.communicate(timeout=250) for name, process in processes.items()}
    found = {name: jobs.jobs(tmp_path / name) for name in processes}
    numbers = [int(job.folder.name) for name in found for job in found[name]]
    assert sorted(numbers) == list(range(6))
    assert all(found.values())
    assert len({job.overrides["seed"] for name in found for job in found[name]}) == 6
    failed = {name: [job for job in found[name] if job.state == "failed"] for name in found}
    assert 0 < sum(map(len, failed.values())) < 6
    for name, process in processes.items():
        assert process.returncode == bool(failed[name]), said[name]
        assert "Traceback" not in said[name][1]
        assert (f"run these again with: python {ROOT / 'train.py'} -m sweep.resume=" in said[name][1]) == bool(
            failed[name]
        )
    study = trial.open_study(trial.StudyConfig(f"sqlite:///{tmp_path}/shared.db", "distill"))
    states = {t.number: t.state.name for t in study.get_trials()}
    assert len(states) == 6
    named = {"finished": "COMPLETE", "failed": "FAIL"}
    assert states == {int(job.folder.name): named[job.state] for name in found for job in found[name]}


@pytest.mark.slow
def test_a_mistyped_key_or_option_comes_before_the_first_trial(tmp_path):
    for given, message in (
        (("optimizer.lrr=interval(0.1,1)",), "there is no key 'optimizer.lrr'"),
        (("kd=none,nonne",), "kd has no option 'nonne'; did you mean"),
        (("kd.T=interval(1,2)", "hydra.sweeper.n_trial=3"), "did you mean 'n_trials'"),
    ):
        done = command("-m", "hydra/sweeper=optuna", *given, "hydra.sweep.dir=wrong", cwd=tmp_path)
        assert done.returncode == 1
        assert message in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert not (tmp_path / "wrong/0").exists()
