"""Options of the small commands: key=value, typed; every mistake one line."""

import io
import sys
from dataclasses import dataclass

import pytest

from distill.cli.commands import launch, one_line_errors
from distill.config.options import arg, parse, usage
from distill.utils.errors import UserError


@dataclass
class Options:
    run: str = arg("the run's folder")
    split: str = arg("train, val or test", "test")
    batch_size: int | None = arg("samples at a time", None)
    images: list[str] = arg("files", [])


def test_values_are_typed_and_defaults_hold():
    options = parse(Options, ["run=a=b", "batch_size=32"])
    assert options == Options("a=b", "test", 32, [])
    assert parse(Options, ["run=x", "images=[a,b]", "batch_size=null"]).images == ["a", "b"]
    assert parse(Options, ["--run", "a=b", "--batch-size=32"]) == options


def test_what_is_no_key_goes_to_the_rest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "k=v.png").touch()
    assert parse(Options, ["run=x", "a.png", "k=v.png"], rest="images").images == ["a.png", "k=v.png"]


def test_a_list_of_one_needs_no_brackets():
    assert parse(Options, ["run=x", "images=a=b.png"], rest="images").images == ["a=b.png"]
    assert parse(Options, ["run=x", "images=2026", "b.png"], rest="images").images == ["2026", "b.png"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["run='a\\'b'"], r"cannot read run='a\\'b': line 1, column 5: "),
        (["run=x", "images=[a,b"], r"cannot read images=\[a,b: line 1, column 5: .*expected ',' or '\]'"),
        ([], "run=... is missing: the run's folder"),
        (["run=x", "spilt=val"], r"there is no key 'spilt'; did you mean 'split'\?"),
        (["run=x", "batch_size=many"], "batch_size=many: "),
        (["run=x", "loose"], "'loose' is no key=value; keys: run, split"),
        (["run=x", "run=y"], "run is given twice"),
        (["run=null"], "run=... is missing"),
        (["run="], "run=... is missing"),
        (["--run"], "run=... is missing"),
        (["run=x", "--runs", "y"], "'--runs' is no key=value; keys: run, split"),
    ],
)
def test_mistakes(argv, message):
    with pytest.raises(UserError, match=message):
        parse(Options, argv)


def test_help_names_every_key():
    text = usage(Options, "do.py", "Does it.")
    assert "run            the run's folder (required)" in text
    assert "batch_size     samples at a time (default: null)" in text


def test_launch_ends_with_the_status(monkeypatch, capsys):
    def refuses(options):
        raise UserError("no\nsuch thing")

    for main, argv, status in ((lambda _: 3, ["run=x"], 3), (lambda _: None, ["run=x"], 0), (refuses, ["run=x"], 1),
                               (refuses, ["--help"], 0), (refuses, [], 1)):  # fmt: skip
        monkeypatch.setattr("sys.argv", ["do.py", *argv])
        with pytest.raises(SystemExit) as stop:
            launch(Options, main, "Does it.")
        assert stop.value.code == status
    assert "error: no such thing\n" in capsys.readouterr().err


def test_a_terminal_without_unicode_shows_question_marks_and_the_bytes_of_names(monkeypatch):
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="ascii"))
    with one_line_errors():
        print("‖ caf\udce9", flush=True)
    assert shown.getvalue() == b"? caf\xe9\n"
