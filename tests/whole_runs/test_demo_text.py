"""``make demo-text``: its texts come from installed packages, its models from scratch; its own command, in a folder."""

import json
import re
import shlex
import subprocess
import sys

import pytest

from jobs import ROOT, command


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_demo(tmp_path):
    recipe = re.search(r"^demo-text:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    prepares, trains = recipe.replace("\\\n", " ").strip().split("\n")
    script = ROOT / shlex.split(prepares)[1]
    subprocess.run([sys.executable, script, *shlex.split(prepares)[2:]], cwd=tmp_path, check=True)
    rows = [json.loads(line) for line in (tmp_path / "outputs/demo-text/docstrings.jsonl").read_text().splitlines()]
    assert {row["label"] for row in rows} == {"torch", "scipy", "sklearn", "transformers"}
    assert not any("torch" in row["text"].lower() for row in rows)
    arguments = [word for word in shlex.split(trains)[2:] if word != "$(ARGS)"]
    done = command(*arguments, "hydra.run.dir=run", cwd=tmp_path, timeout=1100)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["teacher"]["test"]["acc"] > 0.6  # one in four by chance
    assert summary["student"]["best"]["test"]["acc"] > 0.5
    assert summary["student"]["parameters"] < summary["teacher"]["parameters"] / 2
