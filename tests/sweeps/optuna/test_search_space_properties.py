"""What is proposed lies in what the command line gave, and can be pasted back."""

import random

import optuna
from hypothesis import assume, given, strategies as st

from distill.config.paths import parsed
from distill.sweeps.optuna.search_space import samples, search_space
from properties import EXAMPLES

WHOLE = st.integers(-1000, 1000)
REAL = st.floats(-1e6, 1e6).map(lambda x: round(x, 6))
WORDS = st.lists(st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), min_size=2, max_size=6)


def proposals(distribution, count=20):
    """Points of a random search."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return [study.ask({"x": distribution}).params["x"] for _ in range(count)]


@EXAMPLES
@given(REAL, REAL)
def test_an_interval_holds_what_is_proposed(a, b):
    assume(a < b)
    _, distributions = search_space([f"kd.T=interval({a!r},{b!r})"])
    assert all(a <= value <= b for value in proposals(distributions["kd.T"]))


@EXAMPLES
@given(WHOLE, WHOLE)
def test_an_interval_of_whole_numbers_has_both_ends(a, b):
    assume(a < b)
    found = search_space([f"kd.T=int(interval({a},{b}))"])[1]["kd.T"]
    assert (found.low, found.high) == (a, b)
    assert all(isinstance(value, int) and a <= value <= b for value in proposals(found))


@EXAMPLES
@given(WHOLE, WHOLE, st.integers(1, 50))
def test_a_range_has_pythons_steps(start, stop, step):
    assume(start < stop)
    found = search_space([f"seed=range({start},{stop},{step})"])[1]["seed"]
    steps = range(start, stop, step)
    assert (found.low, found.high) == (steps[0], steps[-1])
    assert set(proposals(found)) <= set(steps)


@EXAMPLES
@given(WORDS)
def test_a_choice_has_each_word_once_and_samples_every_one(words):
    words = [word for word in words if word not in ("null", "true", "false", "inf", "nan", "on", "off", "yes", "no")]
    assume(len(set(words)) > 1)
    fixed, distributions = search_space(["model=resnet8", f"kd={','.join(words)}"])
    assert fixed == ["model=resnet8"]
    assert list(distributions["kd"].choices) == list(dict.fromkeys(words))
    points = list(samples(distributions))
    assert {point[0] for point in points} == {f"kd={word}" for word in words}
    assert all(parsed(override).value() == override.partition("=")[2] for point in points for override in point)


@EXAMPLES
@given(st.lists(st.tuples(st.sampled_from(["kd.T", "kd.alpha", "seed"]), WHOLE), min_size=2, max_size=8))
def test_the_last_override_of_a_key_counts(pairs):
    arguments = [f"{key}={value},{value + 1}" for key, value in pairs]
    random.Random(0).shuffle(arguments)
    _, distributions = search_space(arguments)
    expected = dict(argument.split("=") for argument in arguments)
    assert {key: ",".join(each.choices) for key, each in distributions.items()} == expected
