"""Messages: lines of a run on stdout, warnings and errors on stderr, of the first process only."""

import logging

import pytest

from distill.utils.logging import setup_logging

log = logging.getLogger("distill.somewhere")


def say_all():
    for level in ("debug", "info", "warning", "error"):
        getattr(log, level)(f"a {level}, {100} %")


@pytest.mark.parametrize(
    ("level", "out", "err"),
    [
        ("debug", "a debug, 100 %\na info, 100 %\n", "warning: a warning, 100 %\nerror: a error, 100 %\n"),
        ("info", "a info, 100 %\n", "warning: a warning, 100 %\nerror: a error, 100 %\n"),
        ("error", "", "error: a error, 100 %\n"),
    ],
)
def test_levels_and_streams(capsys, level, out, err):
    setup_logging(level)
    setup_logging(level)  # nothing is said twice
    say_all()
    assert capsys.readouterr() == (out, err)


def test_other_processes_are_silent(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    say_all()
    assert capsys.readouterr() == ("", "")


def test_hydras_root_logger_prints_nothing_again(capsys):
    root = logging.StreamHandler()
    logging.getLogger().addHandler(root)
    try:
        say_all()
    finally:
        logging.getLogger().removeHandler(root)
    assert capsys.readouterr().err == "warning: a warning, 100 %\nerror: a error, 100 %\n"
