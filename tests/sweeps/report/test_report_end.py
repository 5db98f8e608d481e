"""A sweep from the command line ends with its answer, whatever happened to its jobs."""

import csv
import json
import shlex
from pathlib import Path

import pytest

from jobs import TINY, command, script
from summaries import kept

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def ended(place):
    return command("-m", *TINY, "kd=none,kd", "kd.alpha=0.5,2", "seed=0", "hydra.sweep.dir=sweep", cwd=place)


def test_the_answer_is_printed_once_and_written(ended, place):
    assert ended.returncode == 1, ended.stderr  # alpha=2
    assert ended.stdout.count("best on validation: ") == 1
    assert ended.stdout.count("results: sweep/results.csv, sweep/report.html") == 1
    assert "failed: jobs 1, 3: kd.alpha must be in [0, 1] (it weighs the hard loss), got 2.0" in ended.stdout
    with (place / "sweep/results.csv").open(newline="") as file:
        states = {row["job"]: row["state"] for row in csv.DictReader(file)}
    assert states == {"0": "finished", "1": "failed", "2": "finished", "3": "failed"}
    assert "kd.alpha must be in [0, 1]" in (place / "sweep/report.html").read_text()
    assert "warning: the sweep's report" not in ended.stderr


def test_the_best_settings_command_gives_the_same_numbers(ended, place):
    line = ended.stdout.split("again with:\n")[1].splitlines()[0]
    words = shlex.split(line)
    assert (words[0], Path(words[1]).name) == ("python", "train.py")  # its path, as it was called
    again = command(*words[2:], "hydra.run.dir=again", cwd=place)
    assert again.returncode == 0, again.stderr
    mine = json.loads((place / "again/summary.json").read_text())["student"]
    with (place / "sweep/results.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["state"] == "finished"]
    best = max(rows, key=lambda row: float(row["val_acc"]))
    assert (float(best["val_acc"]), float(best["test_acc"])) == (
        kept(mine)["val"]["acc"],
        kept(mine)["test"]["acc"],
    )


def test_the_command_line(ended, place):
    done = script("report", "sweep", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "best on validation: " in done.stdout
    wrong = script("report", "swep", cwd=place)
    assert (wrong.returncode, wrong.stdout, wrong.stderr) == (1, "", "error: swep does not exist\n")
