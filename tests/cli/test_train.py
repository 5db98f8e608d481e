"""What happens before a job begins."""

import re
import shutil
import sys

import pytest
from hydra.core.hydra_config import HydraConfig

from distill.cli.train import _worded, execute, main
from distill.utils.errors import UserError
from jobs import TINY


@pytest.mark.parametrize(
    ("folder", "arguments"),
    [("run", ["hydra.run.dir=run"]), ("sweep/1", ["-m", "kd.T=2,8", "hydra.sweep.dir=sweep"])],
)
def test_a_log_that_cannot_be_written_is_named(tmp_path, monkeypatch, folder, arguments):
    """Logging says that it cannot configure a handler; of a later job of a sweep, too."""
    (tmp_path / folder / "train.log").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(UserError, match=rf"{folder}/train\.log: Is a directory$"):
        execute([*TINY, *arguments])


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("init=" + 300 * "a", r"a{300}/?\S*: file name too long"),
        ("hydra.run.dir=" + 300 * "a", r"a{300}: file name too long"),
        ("kd.T=" + 300 * "[" + 300 * "]", "nested 300 deep"),
    ],
)
def test_what_hydra_or_the_system_refuses_is_one_line(tmp_path, monkeypatch, capsys, argument, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", argument])
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)  # of an earlier test
    with pytest.raises(SystemExit):
        main()
    printed = capsys.readouterr().err
    assert re.fullmatch(f"error: .*{message}.*\n", printed)


@pytest.mark.parametrize("others", [False, True])
def test_a_command_that_is_refused_leaves_no_folder(tmp_path, monkeypatch, others):
    """Neither before the configuration is recorded nor after; what somebody else put there stays."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    run = tmp_path / "outputs" / "2026-01-31" / "12-00-00"
    for wrong in ("kd.T=-1", "data=imagefolder data.root=nowhere"):
        if others:
            run.mkdir(parents=True, exist_ok=True)
            (run / "training.log").write_text("mine")
        with pytest.raises(UserError):
            execute([*TINY, *wrong.split(), f"hydra.run.dir={run}"])
        assert run.parent.exists() == others
        if others:
            assert (run / "training.log").read_text() == "mine"
            assert (run / "train.log").exists()
            shutil.rmtree(run)


def test_an_error_of_hydras_without_words_names_its_keys(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "kd.T=4", "hydra.verbose=nan"])
    assert _worded(AssertionError()) == "Hydra does not take the value of hydra.verbose"
    assert _worded(ValueError("no such x")) == "no such x"


def test_a_configuration_nested_too_deep_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "deep.yaml").write_text(f"# @package _global_\nx: {900 * '['}{900 * ']'}\n")
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(UserError, match="nested deeper than it can be read"):
        execute(["--config-dir", str(tmp_path), "experiment=deep"])
