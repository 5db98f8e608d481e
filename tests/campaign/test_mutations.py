"""The mutations are those of the seed, and the verdicts those of the rules."""

import pytest

from campaign import fuzz, mutations
from campaign.forked import Done


def test_a_number_is_always_the_same_command():
    first = [mutations.mutated(0, number) for number in range(200)]
    assert first == [mutations.mutated(0, number) for number in range(200)]
    assert first != [mutations.mutated(1, number) for number in range(200)]
    assert len({tuple(words) for _, words in first}) > 190
    used = {name for names, _ in first for name in names.split("+")}
    assert used == {mutation.__name__ for mutation in mutations.MUTATIONS}


def test_numbers_of_commands():
    assert fuzz.numbers("3") == [0, 1, 2]
    assert fuzz.numbers("17-18,20-20") == [17, 18, 20]


def test_real_commands_are_those_of_the_documentation():
    real = mutations.real_commands()
    assert ("kd=rkd",) in real
    assert ("-m", "kd.T=2,4", "kd.alpha=0.1,0.5") in real
    assert len(real) > 40


@pytest.mark.parametrize(
    ("status", "output", "seconds", "expected"),
    [
        (0, "plan: results in x\n", 0.3, None),
        (1, "plan: x\nerror: kd.T must be above 0, got -1\n", 0.3, None),
        (1, "error: a\nb\n", 0.3, "more than one line"),
        (1, "error: a\nerror: b\n", 0.3, "more than one line"),
        (0, "error: a\n", 0.3, "status 0 with"),
        (1, "a\n", 0.3, "status 1 without an error line"),
        (2, "usage: x\nx: error: y\n", 0.3, "status 2 without an error line"),
        (1, f"error: {2_000 * 'a'}\n", 0.3, "an error of 2007 characters"),
        (1, "error: AssertionError\n", 0.3, "not worded"),
        (1, "error: x\n", 2.1, "2.1 s of CPU"),
        (1, "Traceback (most recent call last):\n  x\nValueError: x\n", 0.3, "traceback: ValueError: x"),
        (-9, "", 0.3, "ended by SIGKILL"),
    ],
)
def test_what_is_wrong(status, output, seconds, expected):
    found = fuzz.problems(Done(status, output, seconds, late=False))
    assert (found == []) if expected is None else (expected in found[0]), found
