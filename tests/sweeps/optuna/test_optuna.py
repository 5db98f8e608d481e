"""A search with Optuna: what is asked, who runs it, how it ends; alone, shared, and killed."""

import math
import os
import shlex
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import summaries
from distill.sweeps import jobs, record
from distill.utils.errors import UserError
from jobs import ROOT, command

optuna = pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'distill[optuna]'")

from distill.sweeps.optuna import trial  # noqa: E402
from distill.sweeps.optuna.search import AGAIN, EXTRA, UNCLAIMED, Search  # noqa: E402
from distill.sweeps.optuna.search_space import check_same_space, search_space  # noqa: E402
from hydra_plugins.distill_optuna import OptunaSweeper  # noqa: E402

STATE = optuna.trial.TrialState
RANGES = search_space(["kd.T=interval(1,10)"])[1]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("kd.T=interval(1,10)", optuna.distributions.FloatDistribution(1, 10)),
        ("kd.T=int(interval(1,10))", optuna.distributions.IntDistribution(1, 10)),
        ("kd.T=tag(log,interval(0.1,10))", optuna.distributions.FloatDistribution(0.1, 10, log=True)),
        ("kd.T=int(tag(log,interval(1,64)))", optuna.distributions.IntDistribution(1, 64, log=True)),
        ("seed=range(0,7,2)", optuna.distributions.IntDistribution(0, 6, step=2)),
        ("kd.alpha=range(0.5,0.1,-0.1)", optuna.distributions.FloatDistribution(0.2, 0.5, step=0.1)),
        ("kd=kd,dkd,kd", optuna.distributions.CategoricalDistribution(["kd", "dkd"])),
        ("kd.alpha=null,0.5", optuna.distributions.CategoricalDistribution(["null", "0.5"])),
        ("+x='a b','c'", optuna.distributions.CategoricalDistribution(["'a b'", "'c'"])),
    ],
)
def test_ranges(given, expected):
    fixed, ranges = search_space(["kd=none", given, "model=resnet8"])
    assert fixed[-1] == "model=resnet8"
    (found,) = ranges.values()
    if isinstance(expected, optuna.distributions.FloatDistribution):
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
        assert (found.log, found.step) == (expected.log, expected.step)
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("kd.T=interval(3,3)", "kd.T=interval(3,3) is nothing to search: its end must be above its start"),
        ("kd.T=interval(5,1)", "its end must be above its start"),
        ("kd.T=tag(log,interval(0,1))", "a logarithmic range begins above 0"),
        ("kd.T=tag(lgo,interval(1,2))", "the only tag is log, not lgo"),
        ("kd.T=tag(log,choice(1,2))", "log is for an interval"),
        ("seed=range(3,1)", "it is empty"),
        ("seed=1", "has nothing to search: give a range, as in 'kd.T=interval(1,10)'"),
    ],
)
def test_what_is_no_range(given, message):
    with pytest.raises(UserError) as caught:
        search_space([given])
    assert message in str(caught.value)


def sweeper(**knobs):
    """A sweeper after its ``setup``, which stops short of a launcher."""
    defaults = {
        "n_trials": 2, "at_once": 1, "sampler": "tpe", "sampler_args": None, "pruner": "median", "pruner_args": None,
        "seed": 0, "storage": None, "study_name": "distill",
    }  # fmt: skip
    return OptunaSweeper(**(defaults | knobs))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"n_trials": 0}, "hydra.sweeper.n_trials must be a whole number from 1, got 0"),
        ({"n_trials": "many"}, "hydra.sweeper.n_trials must be a whole number from 1, got 'many'"),
        ({"at_once": True}, "hydra.sweeper.at_once must be a whole number from 1, got True"),
        ({"seed": -1}, "hydra.sweeper.seed must be a whole number from 0 or null, got -1"),
        ({"pruner_args": 5}, "hydra.sweeper.pruner_args must be arguments by name"),
    ],
)
def test_mistakes_of_the_knobs(knobs, message):
    with pytest.raises(UserError) as caught:
        sweeper(**knobs).setup(hydra_context=None, task_function=None, config=None)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "name", "arguments", "message"),
    [
        ("sampler", "tpee", {}, "hydra.sweeper.sampler=tpee is unknown; did you mean 'tpe'?"),
        ("sampler", "tpe", {"gama": 1}, "hydra.sweeper.sampler_args: tpe takes no gama; did you mean 'gamma'?"),
        ("sampler", "tpe", {"n_startup_trials": "x"}, "n_startup_trials must be int, got 'x'"),
        ("pruner", "hyperbnd", {}, "did you mean 'hyperband'?"),
        ("pruner", "median", {"n_startup_trials": True}, "n_startup_trials must be int, got True"),
        ("pruner", "median", {"n_startup_trials": -1}, "hydra.sweeper.pruner_args: Number of startup trials cannot"),
        ("pruner", "percentile", {}, "hydra.sweeper.pruner_args:"),
    ],
)
def test_mistakes_of_samplers_and_pruners(kind, name, arguments, message):
    with pytest.raises(UserError) as caught:
        trial.instantiate(kind, {"sampler": trial.SAMPLERS, "pruner": trial.PRUNERS}[kind], name, arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", trial.PRUNERS)
def test_every_pruner_can_be_made(name):
    trial.instantiate("pruner", trial.PRUNERS, name, {"percentile": 25} if name == "percentile" else {})


@pytest.mark.parametrize("storage", ["sqlite:////no/such/folder/x.db", "oracle7://x", "/proc/x/journal", "/"])
def test_a_storage_that_cannot_be_opened(storage):
    with pytest.raises(UserError, match="cannot be opened: "):
        trial.open_storage(storage)


def test_a_study_of_another_search_is_refused(tmp_path):
    study = trial.open_study(trial.StudyConfig(str(tmp_path / "j"), "s"))
    study.tell(study.ask(fixed_distributions=RANGES), 0.5)
    check_same_space(study, RANGES)
    for other in (["kd.T=interval(1,9)"], ["kd.T=interval(1,10)", "seed=1,2"], ["seed=1,2"]):
        with pytest.raises(UserError, match="searched other ranges before"):
            check_same_space(study, search_space(other)[1])
    with pytest.raises(UserError, match="does not maximize one value"):
        check_same_space(optuna.create_study(direction="minimize"), RANGES)


def search(folder, n_trials=3, storage=None, **knobs):
    place = trial.StudyConfig(storage or str(folder / "study.journal"), "s")
    sampler = sweeper(sampler="random", sampler_args={}, **knobs)._make_sampler() if knobs else None
    study = trial.open_study(place, sampler)
    return Search(study, place, folder, RANGES, n_trials)


def ended(folder, number, accuracy=math.nan):
    """A job's folder after its end."""
    job = folder / str(number)
    (job / "command.yaml").write_text("overrides: [kd.T=1]\nconfig_dir: null")
    summaries.write_summary(job, student=summaries.student(last=summaries.epoch(val=accuracy)))


def test_a_trial_is_told_how_its_job_ended(tmp_path):
    one = search(tmp_path, n_trials=5)
    good, bad, pruned, blind, stopped = (one.ask() for _ in range(5))
    assert one.ask() is None
    ended(tmp_path, good.job, 0.75)
    record.fail(tmp_path / str(bad.job), [], "out of memory")
    (tmp_path / str(pruned.job) / "command.yaml").write_text("overrides: []\nconfig_dir: null")
    record.prune(tmp_path / str(pruned.job), 3, 0.1)
    ended(tmp_path, blind.job)
    for taken in (good, bad, pruned, blind, stopped):
        one.tell(taken)
    states = [t.state for t in one.study.get_trials()]
    assert states == [STATE.COMPLETE, STATE.FAIL, STATE.PRUNED, STATE.FAIL, STATE.RUNNING]
    assert one.study.best_value == 0.75
    assert "no score on validation" in jobs.read(tmp_path / str(blind.job)).failure["reason"]


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_commands_that_ask_together_take_n_trials_and_no_more(tmp_path, kind):
    """Both see that one is left, both ask; one of them has it."""
    storage = f"sqlite:///{tmp_path}/s.db" if kind == "sqlite" else str(tmp_path / "shared.journal")
    mine, other = (search(tmp_path / name, storage=storage) for name in ("a", "b"))
    taken = [mine.ask(), other.ask()]
    sees, asked = mine.counted, []
    before = sees()

    def late():
        """What it sees is from before the other one asked."""
        if not asked:
            asked.append(other.ask())
            return before
        return sees()

    mine.counted = late
    assert mine.ask() is None
    assert len({t.number for t in [*taken, *asked]}) == 3
    assert other.ask() is None
    assert len(other.counted()) == 3
    assert [EXTRA in t.user_attrs for t in other.study.get_trials()] == [False] * 3 + [True]
    more = search(tmp_path / "a", n_trials=5, storage=storage)  # the one dropped is none of them
    assert [bool(more.ask()) for _ in range(3)] == [True, True, False]


def test_what_a_command_left_is_taken_by_one_other(tmp_path):
    gone = search(tmp_path)
    with gone.worker_lock():
        stopped, finished, failed = (gone.ask() for _ in range(3))
        ended(tmp_path, finished.job, 0.5)
        record.fail(tmp_path / str(failed.job), [], "killed")
        gone.tell(failed)
        assert search(tmp_path).resume(retry_failed=True) == []  # it lives
    heir, late = search(tmp_path), search(tmp_path)
    with heir.worker_lock():
        taken = heir.resume(retry_failed=True)
        assert [(t.number, t.job) for t in taken] == [(stopped.number, stopped.job), (3, failed.job)]
        assert [t.params for t in taken] == [stopped.params, failed.params]
        assert late.resume(retry_failed=True) == heir.resume(retry_failed=True) == []
        states = [t.state for t in heir.study.get_trials()]
        assert states == [STATE.RUNNING, STATE.COMPLETE, STATE.FAIL, STATE.RUNNING]
        record.clear(tmp_path / str(failed.job))
        ended(tmp_path, failed.job, 0.9)
        heir.tell(taken[1])
        assert heir.ask() is None
    assert heir.study.best_trial.user_attrs[AGAIN] == failed.job
    assert len(heir.counted()) == 3


def test_a_trial_asked_for_by_a_process_that_was_killed_meanwhile_is_replaced(tmp_path, monkeypatch):
    one = search(tmp_path, n_trials=1)
    one.study.ask()
    assert one.resume() == []
    assert one.ask() is None

    class Later(datetime):
        @classmethod
        def now(cls):
            return datetime.now() + UNCLAIMED + timedelta(seconds=1)

    monkeypatch.setattr("distill.sweeps.optuna.search.datetime", Later)
    assert one.resume() == []
    assert one.ask().number == 1


def test_proposals_depend_on_the_seed_and_the_number_alone(tmp_path):
    """A search that goes on in a new process proposes what it would have; two commands never the same."""
    one = search(tmp_path / "a", n_trials=4, seed=7)
    whole = [one.ask().params for _ in range(4)]
    again = [search(tmp_path / "b", n_trials=4, seed=7).ask().params for _ in range(4)]
    assert whole == again
    assert len({params["kd.T"] for params in whole}) == 4
    assert search(tmp_path / "c", seed=8).ask().params != whole[0]


def test_the_job_reports_each_epoch_once_and_hears_when_there_is_no_hope(tmp_path, recwarn):
    place = trial.StudyConfig(str(tmp_path / "j"), "s", "median", {"n_startup_trials": 2})
    study = trial.open_study(place)
    for _ in range(2):
        good = study.ask(fixed_distributions=RANGES)
        for epoch in (1, 2, 3):
            good.report(0.5 + epoch / 10, epoch)
        study.tell(good, 0.8)
    number = study.ask(fixed_distributions=RANGES).number
    folder = tmp_path / "0"
    assert trial.pruning_callback(folder) is None
    trial.write(folder, place, number, "me")
    go_on = trial.pruning_callback(folder)
    assert go_on(1, 0.65)
    assert trial.pruning_callback(folder)(1, 0.65)  # resumed within the second epoch's training, say
    assert not trial.pruning_callback(folder)(2, 0.2)
    assert study.get_trials()[number].intermediate_values == {1: 0.65, 2: 0.2}
    study.tell(number, state=STATE.PRUNED)
    assert trial.pruning_callback(folder) is None
    assert not recwarn.list


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
