"""Rounds in which something else had the machine are recognised, repeated, left out and counted."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from benchmarks import groups, load, page, results
from benchmarks.settings import Settings
from benchmarks.tables import spread

CPU = {"device": "cpu", "cpu": "AMD EPYC", "cores": 2, "threads": 2, "amx": False, "units": "AVX512-BF16"}
STAMP = {"hardware": CPU, "versions": {}, "commit": "0", "rounds": 4, "date": "2026-01-31", "task": "t", "quick": False}
PEAK = {side: {"process": 1, "all": 1} for side in ("peer", "ours")}


def group(peer, ours, **more):
    """Seconds of every turn."""
    turns = {"peer": [[s, s] for s in peer], "ours": [[s, s] for s in ours]}
    return {"turns": turns, "images": {"peer": 64, "ours": 64}, "peak": PEAK, **STAMP, **more}


def live():
    return next(row for row in results.ROWS if row.group == "live")


def test_a_round_is_left_out_where_either_side_ran_below_half_of_its_best():
    found = group(peer=[4.0, 4.0, 40.0, 4.0], ours=[1.0, 20.0, 1.0, 2.0])
    assert results.undisturbed(found) == [0, 3]
    assert live().ratios(found) == [4.0, 2.0]
    assert live().ratios.best(found) == 4.0
    text = page.page({"cpu": {"live": found}})
    assert "| **3.00** (2.00 … 4.00) | 4.00 |" in text
    assert "Rounds left out as disturbed: 2 of 4 of live." in text


def test_a_round_is_left_out_where_others_used_the_machine():
    found = group([4.0] * 4, [1.0, 1.25, 1.0, 1.0], foreign=[0.0, 0.16, 0.15, 0.5])
    assert results.undisturbed(found) == [0, 2]
    assert live().ratios(found) == [4.0, 4.0]


def test_a_machine_that_was_never_quiet_is_said_to_be_busy():
    found = group([4.0, 8.0], [1.0, 1.0], foreign=[0.5, 0.5])
    assert live().ratios(found) == [4.0, 8.0]  # better than nothing
    text = page.page({"cpu": {"live": found}})
    assert "all 2 of live were disturbed and are shown, as the machine was busy" in text


@pytest.mark.parametrize(("values", "busy"), [([1.0, 2.0], False), ([1.0, 2.01], True), ([3.0], False)])
def test_no_spread_above_two_is_shown_without_a_word(values, busy):
    assert ("; the machine was busy)" in spread(values)) is busy


class Player:
    """A side whose turns take what they are given."""

    peak = most = 1
    ready_s = 1.0

    def __init__(self, seconds):
        self.seconds = iter(seconds)
        self.turns = 0

    def turn(self, steps):
        self.turns += 1
        return next(self.seconds), 1.0


@pytest.mark.parametrize(
    ("ours", "taken", "kept"),
    [
        ([1, 1, 1, 1], 4, 4),  # all quiet
        ([1, 9, 1, 1, 1], 5, 4),  # one is repeated
        ([1, 9, 9, 9, 9, 9], 6, 1),  # no more than half as many again
    ],
)
def test_disturbed_rounds_are_repeated_within_a_bound(monkeypatch, ours, taken, kept):
    monkeypatch.setattr(groups.Foreign, "share", lambda _: 0.0)
    lab = SimpleNamespace(settings=Settings(rounds=4))
    players = {"peer": Player([2.0] * 9), "ours": Player(ours)}
    found = groups.Lab.turns(lab, players)
    assert players["ours"].turns == players["peer"].turns == len(found["foreign"]) == taken
    assert len(results.undisturbed(found)) == kept


def test_an_epoch_holds_the_repeated_rounds():
    assert Settings(rounds=9, turn=12, warm_up=5).images == 5 + (9 + 5) * 12


def test_the_load_of_others_is_that_of_processes_that_are_not_below_this_one():
    work = "import time; t = time.process_time()\nwhile time.process_time() - t < 0.3: pass"
    before, all_before = load.used(os.getpid()), load.busy()
    subprocess.run([sys.executable, "-c", work], check=True)
    assert load.used(os.getpid()) - before >= 0.3  # it has ended, and was waited for
    assert load.busy() - all_before >= 0.25
    foreign = load.Foreign()
    time.sleep(0.05)
    assert 0 <= foreign.share() <= 1


def test_foreign_load_is_what_is_left_of_all_work(monkeypatch):
    monkeypatch.setattr(load.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(load.time, "perf_counter", iter([0.0, 10.0]).__next__)
    monkeypatch.setattr(load, "busy", iter([100.0, 115.0]).__next__)
    own = iter([7.0, 17.0])
    monkeypatch.setattr(load, "used", lambda _: next(own))
    assert load.Foreign().share() == pytest.approx(5 / 20)


def test_the_highest_rate_is_that_of_the_best_form():
    rates = {"float32": {"wide": [1e11, 3e11, 2e11], "narrow": [9e11, 1e11, 1e11]}, "bf16": {"wide": [4e11]}}
    peak = {"rates": rates, "macs": {"teacher": 10**9, "student": 10**8}, **STAMP}
    assert results.highest(peak, "float32") == 2e11
    text = page.page({"cpu": {"live": group([2.0], [1.0]), "peak": peak}})
    assert "the best of 1 shapes and forms of a layer's forward (wide)" in text
    assert "200 · 10⁹/s in float32" in text
