import pytest

from distill.utils import timing
from distill.utils.timing import alternate


class Clock:
    """A clock that only moves when it is told to, and the time of its CPU."""

    def __init__(self, monkeypatch):
        self.wall = self.cpu = 0.0
        monkeypatch.setattr(timing.time, "perf_counter", lambda: self.wall)
        monkeypatch.setattr(timing.time, "thread_time", lambda: self.cpu)

    def work(self, seconds, waiting=0.0):
        self.wall += seconds + waiting
        self.cpu += seconds


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_every_function_is_called_in_turn_and_timed(clock):
    called = []

    def call(name, seconds):
        called.append(name)
        clock.work(seconds)

    found = alternate({"a": lambda: call("a", 0.001), "b": lambda: call("b", 0.004)}, seconds=0.5, least=5)
    rounds = [set(called[i : i + 2]) for i in range(2 * timing.WARM_UP, len(called), 2)]
    assert set(map(frozenset, rounds)) == {frozenset("ab")}
    assert len(rounds) == pytest.approx(2 * 0.5 / 0.005, abs=1)
    assert not found.busy
    assert found.percentiles("a") == pytest.approx((1, 1, 1))
    assert found.percentiles("b") == pytest.approx((4, 4, 4))


@pytest.mark.parametrize(("seconds", "least", "most", "rounds"), [(0, 7, None, 7), (9, 5, 20, 20)])
def test_the_number_of_rounds_has_bounds(clock, seconds, least, most, rounds):
    assert len(alternate({"a": lambda: clock.work(0.001)}, seconds, least, most).seconds["a"]) == rounds


@pytest.mark.parametrize(("waits", "p50", "busy"), [([3, 1, 0], 1, False), ([3, 1, 2], 2, True), ([0, 9, 9], 1, False)])
def test_busy_tries_are_repeated_and_the_fastest_is_kept(clock, waits, p50, busy):
    """``waits``: for a CPU, in ms per call of 1 ms, by try."""
    calls = iter(range(1000))

    def call():
        number = next(calls) - timing.WARM_UP
        clock.work(0.001, 0.001 * waits[max(0, number) // 10])

    found = alternate({"a": call}, seconds=0.03, least=10, most=10)
    assert found.busy is busy
    assert found.percentiles("a")[0] == pytest.approx(p50)


def test_tries_that_took_long_are_not_repeated(clock):
    found = alternate({"a": lambda: clock.work(0.001, 0.1)}, seconds=0.01, least=10)
    assert found.busy
    assert clock.wall == pytest.approx((timing.WARM_UP + 10) * 0.101)


def test_a_few_slow_calls_of_many_are_a_busy_machine_whoever_computes(clock):
    calls = iter(range(10_000))
    found = alternate({"a": lambda: clock.work(0, 0.001 if next(calls) % 10 else 0.005)}, 0, 100, on_cpu=False)
    assert found.busy
    assert found.percentiles("a")[1] == pytest.approx(5)
    assert not alternate({"a": lambda: clock.work(0, 0.001)}, 0, 100, on_cpu=False).busy
    assert alternate({"a": lambda: clock.work(0, 0.001)}, 0, 100).busy
