"""What campaigns found is kept by campaign and work; names that are not there are refused by the nearest one."""

import json
import sys

import pytest

from campaign import __main__ as command
from campaign.findings import Findings


def test_parts_of_several_calls_are_in_one_file(tmp_path, capsys):
    path = tmp_path / "campaign.json"
    first = Findings("writes --works export")
    first.add("writes", "1 (open a): ENOSPC", [], work="export")
    first.add("writes", "1 (open a): EIO", ["traceback: x"], work="export")
    first.ended("writes")
    first.write(path)
    second = Findings("reads --repeats 2")
    second.add("reads", "resume with run/config.yaml cut", [])
    second.write(path)
    found = json.loads(path.read_text())
    assert {name: (part["trials"], part["right"], part["ended"]) for name, part in found.items()} == {
        "writes export": (2, 1, True),
        "reads": (1, 1, False),
    }
    assert found["writes export"]["faults"] == [["1 (open a): EIO", ["traceback: x"]]]
    assert found["reads"]["arguments"] == "reads --repeats 2"
    assert "| reads, stopped | 1 | 1 | 1 |" in second.table()
    assert "writes export 2: 1 (open a): EIO: FAULT: traceback: x" in capsys.readouterr().err


def test_a_part_done_again_replaces_its_findings(tmp_path):
    path = tmp_path / "campaign.json"
    for problems in (["x"], []):
        findings = Findings(quiet=True)
        findings.add("kills", "killed at change 3", problems, 1, "run")
        findings.write(path)
    assert json.loads(path.read_text())["kills run"]["faults"] == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["writes", "--works", "exprot"], "no work 'exprot'; did you mean 'export'?"),
        (["writes", "--works", ""], "no work ''"),
        (["write"], "no campaign 'write'; did you mean 'writes'?"),
        (["kills,fuzz", "--works", "run"], "fuzz has no works; kills and writes have"),
    ],
)
def test_names_that_are_not_there(monkeypatch, capsys, arguments, expected):
    monkeypatch.setattr(sys, "argv", ["campaign", *arguments])
    with pytest.raises(SystemExit) as stop:
        command.main()
    assert stop.value.code == 2
    assert expected in capsys.readouterr().err
