"""The commands of docs/start_images.md and docs/export.md run as they stand, on another run's folder."""

import re
import shlex

import pytest
from PIL import Image

from distill.cli import export, predict
from distill.config.options import parse
from jobs import ROOT

TEXT = "".join((ROOT / "docs" / f"{page}.md").read_text() for page in ("start_images", "export"))
COMMANDS = sorted(set(re.findall(r"^python (?:export|predict)\.py .*$", TEXT, re.MULTILINE)))


@pytest.mark.slow
@pytest.mark.parametrize("line", COMMANDS)
def test_a_command(line, folder, text_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for i in range(2):
        Image.new("L", (9, 12), 100 * i).save(f"images/{i}.jpg")
    if "15-00-00" in line:  # of texts
        line = line.replace("outputs/2026-01-31/15-00-00", shlex.quote(str(text_run("classification"))))
    words = [word.replace("outputs/2026-01-31/12-00-00", str(folder)) for word in shlex.split(line)[2:]]
    if "export.py" in line:
        # The student hardly learned: what int8 costs it is chance, and differs by the CPU.
        free = [f"output={tmp_path}/export", "seconds=0", "threads=1", "max_accuracy_drop=0.2"]
        options = parse(export.Options, [*words, *free])
        assert export.export(options) == 0
        assert (tmp_path / "export" / "README.md").is_file()
        return
    words = [w for word in words for w in (["images/0.jpg", "images/1.jpg"] if "*" in word else [word])]
    assert predict.predict(parse(predict.Options, words, "inputs")) == 0
    said = (tmp_path / "found.json").read_text() if "output=" in line else capsys.readouterr().out
    assert said.count("images/") == 2


def test_they_were_found():
    assert len(COMMANDS) == 6
