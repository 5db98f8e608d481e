"""The campaigns of tools/campaign, small: killed, unable to write, reading what was damaged; the same samples."""

import pytest

from campaign import fuzz, kills, reads, views, writes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize("name", ["run", "cache", "sweep", "evaluate", "export"])
def test_killed_work_ends_as_if_undisturbed(bench, findings, name):
    kills.campaign(bench, findings, 1, 0, [name])


@pytest.mark.parametrize("name", ["run"])
def test_a_failed_write_is_an_error_or_changes_nothing(bench, findings, name):
    writes.campaign(bench, findings, False, [name], most=5)


FEW = ("run/summary.json", "run/student.safetensors", "run/checkpoints/last.ckpt", "teachers/*/teacher.json",
       "cache/*/train-*.safetensors", "sweep/sweep.yaml")  # fmt: skip


def test_a_damaged_file_is_an_error_or_built_again(bench, findings):
    chosen = {pattern: (pattern, readers[:1], missing) for pattern, readers, missing in reversed(reads.DAMAGED)}
    reads.campaign(bench, findings, 1, 0, [chosen[pattern] for pattern in FEW])


def test_any_number_of_processes_and_workers_sees_the_same_views(tmp_path, findings):
    views.campaign(tmp_path, findings, worlds=(1, 2), workers=(0, 2), data=("digits", "mixed images"))


def test_mutated_commands_end_in_one_line(tmp_path, findings, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(fuzz, "MOST_SECONDS", 8.0)  # on a machine that other tests keep busy
    fuzz.campaign(tmp_path / "fuzz", findings, range(40), seed=0)
