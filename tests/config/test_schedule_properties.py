"""What every schedule keeps, whatever its numbers."""

import json
import math
from itertools import pairwise

from hypothesis import given, strategies as st

from distill.config.command_line import hydra_value
from distill.config.paths import parsed
from distill.config.schedules import count, parse
from properties import EXAMPLES

NUMBERS = st.floats(-1e6, 1e6).map(lambda x: x + 0.0)  # no -0.0
EPOCHS = st.one_of(st.none(), st.integers(1, 500), st.floats(0.001, 0.999))
RUNS = st.integers(1, 300)
TWO_ENDED = st.builds(
    lambda kind, start, end, epochs: {"schedule": kind, "start": start, "end": end, "epochs": epochs},
    st.sampled_from(["linear", "cosine"]), NUMBERS, NUMBERS, EPOCHS,
)  # fmt: skip


@EXAMPLES
@given(TWO_ENDED, RUNS)
def test_it_begins_at_start_stays_between_its_ends_and_goes_one_way(node, epochs):
    schedule = parse(node, "kd.T")
    values = [schedule.at(epoch, epochs) for epoch in range(epochs)]
    low, high = sorted((node["start"], node["end"]))
    slack = 1e-9 * max(1.0, abs(low), abs(high))
    assert all(low - slack <= value <= high + slack for value in values)
    sign = math.copysign(1.0, node["end"] - node["start"])
    assert all(sign * (after - before) >= -slack for before, after in pairwise(values))
    span = count(node["epochs"], epochs)
    assert abs(values[0] - (node["start"] if span > 1 else node["end"])) <= slack
    assert all(abs(value - node["end"]) <= slack for value in values[span - 1 :])


@EXAMPLES
@given(NUMBERS, st.integers(1, 500), RUNS)
def test_a_warmup_reaches_its_value_in_equal_steps(value, span, epochs):
    schedule = parse({"schedule": "warmup", "value": value, "epochs": span}, "kd.T")
    for epoch in range(epochs):
        expected = value if epoch + 1 >= span else value * (epoch + 1) / span
        assert math.isclose(schedule.at(epoch, epochs), expected, rel_tol=1e-12, abs_tol=1e-300)


@EXAMPLES
@given(EPOCHS, RUNS)
def test_a_number_of_epochs_is_at_least_one_and_a_share_within_the_run(epochs, run):
    number = count(epochs, run)
    assert number >= 1
    assert isinstance(number, int)
    if epochs is None or epochs < 1:
        assert number <= run


@EXAMPLES
@given(TWO_ENDED)
def test_it_is_the_same_after_the_command_line(node):
    read = parsed(f"kd.T={hydra_value(node)}").value()
    assert parse(json.loads(json.dumps(read)), "kd.T") == parse(node, "kd.T")
