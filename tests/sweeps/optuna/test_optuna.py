"""A search with Optuna in this process: ranges, mistakes, what is asked, who runs it, how it ends."""

import math
from datetime import datetime, timedelta

import pytest

import summaries
from distill.sweeps import jobs, record
from distill.utils.errors import UserError

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
