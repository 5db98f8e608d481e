"""The commands of docs/start_images.md and docs/evaluate.md, on runs of digits in the place of those they name."""

import json
import re
import shlex
import shutil

import pytest
from PIL import Image

from distill.cli import compare
from distill.cli.evaluate import Options, evaluate
from distill.config.options import parse
from jobs import ROOT
from text_helpers import write_jsonl
from text_runs import rows

PAGES = [ROOT / "docs" / "start_images.md", ROOT / "docs" / "evaluate.md"]
LINES = sorted(
    {
        match.group(0).strip()
        for page in PAGES
        for match in re.finditer(r"(?:^|(?<=`))python (?:evaluate|compare)\.py [^`\n]+", page.read_text(), re.MULTILINE)
    }
)


@pytest.fixture
def place(distilled, alone, tmp_path, monkeypatch):
    """Where the commands are given: two runs at their dates, photos."""
    for folder, name in ((distilled, "12-00-00"), (alone, "13-00-00")):
        shutil.copytree(folder, tmp_path / "outputs" / "2026-01-31" / name)
    run = tmp_path / "outputs" / "2026-01-31" / "12-00-00"
    if not (run / "student-last.safetensors").exists():  # the last epoch was the best one
        shutil.copy(run / "student.safetensors", run / "student-last.safetensors")
        summary = json.loads((run / "summary.json").read_text())
        summary["student"]["last"]["weights"] = "student-last.safetensors"
        (run / "summary.json").write_text(json.dumps({k: v for k, v in summary.items() if k != "checksum"}))
    for i in range(10):
        (tmp_path / "photos" / str(i)).mkdir(parents=True)
        Image.new("L", (9, 12), 20 * i).save(tmp_path / "photos" / str(i) / "1.png")
    (tmp_path / "my_code").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_were_found():
    assert len(LINES) >= 8


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES)
def test_a_command(line, place, text_run):
    words = shlex.split(line)[1:]
    if "data=text" in words:
        shutil.rmtree(place / "outputs" / "2026-01-31" / "12-00-00")
        shutil.copytree(text_run("classification"), place / "outputs" / "2026-01-31" / "12-00-00")
        made = [{**row, "body": row["text"], "kind": row["label"]} for row in rows("classification", 8)]
        write_jsonl(place / "more.jsonl", made)
    if "--help" in words:
        return
    if words[0] == "compare.py":
        compare.compare(parse(compare.Options, words[1:], rest="runs"))
        assert (place / "compare.html").is_file()
        return
    evaluate(parse(Options, [*words[1:], "map=pca"]))
    folder = place / "reports" if "output=reports" in words else place / "outputs" / "2026-01-31" / "12-00-00"
    assert list(folder.glob("evaluation*.json"))
    assert list(folder.glob("report*.html"))
