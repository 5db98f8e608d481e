"""The report as a command: nothing heavy, fast, mistakes in one line."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import time

import pytest

from copies import begin, copy_run
from distill.cli.report import Options, report
from distill.config.options import parse
from distill.sweeps.report.files import report_at_end, write_report
from distill.utils.errors import UserError
from jobs import ROOT


def test_a_thousand_runs_in_five_seconds(distilled, tmp_path, capsys):
    begin(tmp_path, "kd.T=range(1,11)", jobs=1000)
    first = tmp_path / "0"
    copy_run(distilled, first, ["kd.T=1", "kd.alpha=0.0", "seed=0"])
    for number in range(1, 1000):
        folder = tmp_path / str(number)
        shutil.copytree(first, folder)
        t, a, seed = number // 100 + 1, number // 10 % 10 / 10, number % 10
        overrides = {"overrides": [f"kd.T={t}", f"kd.alpha={a}", f"seed={seed}"], "config_dir": None}
        (folder / "command.yaml").write_text(json.dumps(overrides))
    begun = time.process_time()
    write_report(tmp_path)
    assert time.process_time() - begun < 5
    assert "1000 of 1000 jobs finished" in capsys.readouterr().out
    assert (tmp_path / "results.csv").read_text().count("\n") == 1001
    assert (tmp_path / "report.html").stat().st_size < 7e6  # 5 MB are Plotly


def test_nothing_heavy_is_imported(grid):
    code = (
        "import sys; from pathlib import Path; from distill.sweeps.report.files import write_report; "
        f"write_report(Path({str(grid)!r})); heavy = {{'torch', 'lightning', 'numpy', 'pandas'}} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["file.txt"], "file.txt is a file, and a sweep is a folder"),
        (["empty"], "empty is no sweep's folder: it has neither sweep.yaml nor a run's command.yaml"),
        ([], "give the folder of one sweep, got none"),
        (["empty", "nowhere"], "give the folder of one sweep, got 2"),
        (["grid", "basline=empty"], "there is no key 'basline'; did you mean 'baseline'?"),
        (["grid", "baseline=empty"], "baseline: empty is no sweep's folder"),
        (["grid", "output=file.txt/x"], "output: file.txt is a file, and a folder is needed there"),
        (["grid", "output=mine"], "mine/results.csv exists and was not written by this command"),
    ],
)
def test_mistakes_are_one_line(grid, arguments, message, monkeypatch):
    monkeypatch.chdir(grid.parent)
    (grid.parent / "file.txt").touch()
    (grid.parent / "empty").mkdir()
    (grid.parent / "mine").mkdir()
    (grid.parent / "mine/results.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError) as error:
        report(parse(Options, arguments, rest="sweep"))
    assert message in str(error.value)
    assert (grid.parent / "mine/results.csv").read_text() == "a,b\n1,2\n"


def test_the_commands_of_the_docs():
    text = "".join((ROOT / page).read_text() for page in ("docs/train.md", "docs/sweeps.md"))
    lines = re.findall(r"python report\.py ([^`\n]+)", text)
    assert len(lines) >= 3
    for line in lines:
        assert len(parse(Options, shlex.split(line.replace("<its folder>", "x")), rest="sweep").sweep) == 1


def test_a_folder_that_cannot_be_written_to(grid, capsys, monkeypatch):
    """Root writes everywhere, so the system's answer is given in its place; the table has been printed before."""
    from pathlib import Path

    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(UserError, match=r"grid/results.csv cannot be written: Read-only file system"):
        write_report(grid)
    assert "best on validation" in capsys.readouterr().out


def test_a_report_that_cannot_be_made_is_a_warning(grid, capsys, monkeypatch):
    (grid / "report.html").write_text("mine")
    report_at_end(grid)
    said = capsys.readouterr().err
    assert said.startswith(f"warning: the sweep's report could not be made: {grid}/report.html exists and was not")
    assert said.count("\n") == 1
    assert (grid / "report.html").read_text() == "mine"
    monkeypatch.setattr("distill.sweeps.report.files.read", lambda _: 1 / 0)
    report_at_end(grid)
    assert "division by zero" in capsys.readouterr().err
