"""Shell completion: what Hydra's script asks of each command, and bash with that script."""

import os
import shlex
import shutil
import subprocess
import sys

import pytest

from distill.cli.main import COMMANDS, main
from distill.cli.train import main as train
from jobs import ROOT


@pytest.fixture
def asked(capsys, monkeypatch):
    """The words that ``distill`` offers for a line."""

    def ask(line, function=main, program="/somewhere/bin/distill"):
        monkeypatch.setenv("COMP_LINE", line)
        monkeypatch.setattr("sys.argv", [program, "-sc", "query=bash"])
        try:
            function()
        except SystemExit as end:
            assert not end.code
        captured = capsys.readouterr()
        assert captured.err == ""
        return captured.out.split()

    return ask


def test_commands(asked):
    assert asked("distill ") == list(COMMANDS)
    assert asked("distill ev") == ["evaluate"]
    assert asked("distill evaluate") == ["evaluate"]
    assert asked("distill nothing") == []


def test_keys_and_files(asked, tmp_path, monkeypatch):
    assert {"run=", "trust=", "output="} <= set(asked("distill evaluate "))
    assert asked("distill evaluate teac") == ["teacher="]
    (tmp_path / "outputs").mkdir()
    (tmp_path / "out.txt").touch()
    monkeypatch.chdir(tmp_path)
    assert asked("distill evaluate run=out") == ["run=out.txt", "run=outputs/"]
    assert asked("distill evaluate run=[") == []


@pytest.mark.slow
@pytest.mark.parametrize("command", ["distill train", "python train.py"])
def test_groups_options_and_keys_of_a_training(asked, command):
    function, program = (main, "/bin/distill") if command.startswith("distill") else (train, str(ROOT / "train.py"))

    def words(line):
        return asked(f"{command} {line}", function, program)

    assert {"model=resnet8", "model=resnet20"} <= set(words("model=res"))
    assert "kd=dkd" in words("kd=d")
    assert "trainer.max_epochs=" in words("model=resnet8 trainer.max")
    assert "data.root=" in words("data=imagefolder data.ro")


@pytest.mark.slow
def test_bash_with_the_script(tmp_path):
    """The function that the installed script registers, called as bash calls it."""
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    program = tmp_path / "distill"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c "import sys; sys.argv[0] = \'distill\'; '
                       'from distill.cli.main import main; main()" "$@"\n')  # fmt: skip
    program.chmod(0o755)
    script = """
eval "$(distill -sc install=bash)"
complete -p distill
for COMP_LINE in "distill eval" "distill train model=resnet8x"; do
  COMP_WORDS=($COMP_LINE); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_POINT=${#COMP_LINE}
  export COMP_LINE
  hydra_bash_completion
  echo "${COMPREPLY[@]}"
done
"""
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.stderr == ""
    registered, *offered = done.stdout.splitlines()
    assert registered.endswith("-F hydra_bash_completion distill")
    assert offered == ["evaluate", "model=resnet8x4"]
    assert [path.name for path in tmp_path.iterdir()] == ["distill"]  # no outputs
