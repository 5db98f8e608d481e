"""The installed command: every command of the scripts under one name."""

import re
import subprocess
import sys

import pytest

from distill.cli.main import COMMANDS
from distill.config import command_line
from distill.utils import invocation
from jobs import ROOT


def distill(*arguments, **options):
    """``python -m distill ...`` in a process of its own."""
    return subprocess.run([sys.executable, "-m", "distill", *arguments], capture_output=True, text=True, **options)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["help"]])
def test_the_commands_are_listed(arguments):
    done = distill(*arguments)
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")] == list(COMMANDS)


def test_a_mistyped_command_gets_the_nearest_name():
    done = distill("exprot")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: there is no command 'exprot'; did you mean 'export'? Allowed: train, ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["evaluate", "compare", "report", "export", "predict", "train"])
def test_each_script_is_the_command_of_its_name(name):
    script = subprocess.run([sys.executable, ROOT / f"{name}.py", "--help"], capture_output=True, text=True)
    installed = distill(name, "--help")
    assert script.returncode == installed.returncode == 0
    assert f"python {ROOT / name}.py " in script.stdout
    assert installed.stdout == re.sub(rf"python {ROOT}/(\w+)\.py", r"python -m distill \1", script.stdout)


def test_mistakes_end_as_those_of_the_scripts(tmp_path):
    for arguments, message in (
        (["train", "model=resnt8"], "error: model has no option 'resnt8'; did you mean 'resnet8'"),
        (["evaluate", "run=nowhere"], "error: run nowhere does not exist"),
        (["table", "nowhere"], "error: no summary.json of a finished run below nowhere"),
    ):
        done = distill(*arguments, cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith(message)
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["methods", "train --help"])
def test_a_reader_that_goes_gets_no_traceback(command):
    line = f"{sys.executable} -m distill {command} | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode in (0, 1)


@pytest.mark.parametrize(
    ("program", "line", "again"),
    [
        ("/somewhere/train.py", "python /somewhere/train.py 'a=b c'", [sys.executable, "/somewhere/train.py"]),
        ("distill train", "distill train 'a=b c'", [sys.executable, "-m", "distill", "train"]),
        ("python -m distill train", "python -m distill train 'a=b c'", [sys.executable, "-m", "distill", "train"]),
    ],
)
def test_commands_are_printed_as_they_were_given(program, line, again, monkeypatch):
    monkeypatch.setattr("sys.argv", [program, "x=1"])
    monkeypatch.setenv(invocation.STARTED_AS, "")
    invocation.remember()
    assert invocation.invocation("train", "a=b c") == line
    assert invocation.this_command("a=b c") == line
    assert invocation.invocation("report") == line.partition("train")[0] + "report" + (".py" if ".py" in line else "")
    assert invocation.restart() == again


def test_a_key_of_an_earlier_version_is_understood_with_a_warning():
    done = distill("train", "kd=ft", "kd.terms.ft.preparation.epochs=3", "--cfg", "job", "--package", "kd.terms.ft")
    assert "  epochs: 3\n" in done.stdout
    assert done.stderr == "warning: kd.terms.ft.preparation.epochs is kd.terms.ft.pretraining.epochs now\n"
    assert command_line.current_name("+x=kd.terms.ft.preparation") == "+x=kd.terms.ft.preparation"


def test_a_key_of_an_earlier_version_in_a_yaml_file_is_one_line(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults: [override /kd: ft]\nkd: {terms: {ft: {preparation: {epochs: 3}}}}\n"
    )
    done = distill("train", "--config-dir", str(tmp_path), "experiment=mine")
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no key 'kd.terms.ft.preparation'; did you mean ")
    assert "pretraining" in done.stderr


@pytest.mark.parametrize("command", ["train", "evaluate", "compare", "report", "export", "predict", "methods", "table"])
def test_a_front_imports_nothing_heavy(command):
    code = (
        f"import sys, distill.cli.{command}; print([m for m in ('torch', 'lightning', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
