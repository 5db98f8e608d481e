"""The examples run as they are, in an empty folder."""

import json
import os
import subprocess
import sys

import pytest

from jobs import ROOT

EXAMPLES = ROOT / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


def run(path, folder):
    environment = os.environ | {"PYTHONWARNINGS": "error::DeprecationWarning:__main__"}
    done = subprocess.run([sys.executable, str(path)], cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("own_model", ["times fewer parameters", "an image of noise is taken for: [('"]),
        ("own_loss", ["kd: ", "kd and relations: ", "'relations': "]),
        ("own_data", ["'digit-0', 'digit-1'", "right on ", "digit-0 -> ('digit-"]),
    ],
)
def test_a_script_runs_and_shows_its_result(tmp_path, name, said):
    out = run(EXAMPLES / f"{name}.py", tmp_path)
    assert all(text in out for text in said), out
    assert (tmp_path / "outputs" / "examples" / name).is_dir()


@pytest.mark.slow
def test_the_notebook_runs(tmp_path):
    """Its code cells, one after the other, as a notebook runs them."""
    notebook = json.loads((EXAMPLES / "distill_your_models.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    (tmp_path / "cells.py").write_text("\n\n".join(cells), encoding="utf-8")
    out = run(tmp_path / "cells.py", tmp_path)
    scores = {line.split(":")[0]: line for line in out.splitlines()}
    assert {"teacher", "taught", "alone", "parameters", "label", "teacher at T=4"} <= set(scores)
    assert float(scores["teacher"].split()[1].rstrip("%")) > 90  # it has learnt


def test_every_example_is_tested_and_listed_and_fits_a_screen():
    assert [path.stem for path in SCRIPTS] == ["own_data", "own_loss", "own_model"]
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for path in (*SCRIPTS, *EXAMPLES.glob("*.ipynb")):
        assert f"]({path.name})" in listed
    assert all(len(path.read_text(encoding="utf-8").splitlines()) <= 60 for path in SCRIPTS)


def test_the_notebook_holds_no_output():
    notebook = json.loads((EXAMPLES / "distill_your_models.ipynb").read_text(encoding="utf-8"))
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook["cells"])
