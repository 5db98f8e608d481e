"""The pictures of README and docs show what today's code draws."""

import json
import re
from html import unescape

import pytest

from docs_site import pictures
from jobs import ROOT

# Taken before the last change of the charts; the mark goes when they are taken anew.
OLD = pytest.mark.xfail(strict=True, reason='make pictures ARGS="report sweep"')


@pytest.mark.parametrize(
    "group", [pytest.param(group, marks=OLD if group in ("report", "sweep") else ()) for group in pictures.SOURCES]
)
def test_no_picture_is_older_than_what_it_shows(group):
    assert group not in pictures.outdated(ROOT), f'the pictures of {group} are old: make pictures ARGS="{group}"'


def test_every_picture_of_a_page_is_of_a_group():
    known = tuple(f"{group}-" for group in pictures.SOURCES)
    for path in (ROOT / "docs" / "images").glob("*.png"):
        assert path.name.startswith(known), path


def test_the_image_of_the_closing_table_says_what_its_page_says():
    found = pictures.TABLE.search((ROOT / pictures.TABLE_PAGE).read_text())
    image = (ROOT / "docs" / "images" / "closing-table.svg").read_text()
    shown = re.findall(r"<text class=\"table-r\d\"[^>]*>(.*?)</text>", image)
    assert [unescape(line).replace("\xa0", " ").rstrip() for line in shown] == found[1].rstrip("\n").split("\n")
    assert "http" not in image.replace("http://www.w3.org/2000/svg", "").replace("https://www.textualize.io", "")


@pytest.fixture
def tree(tmp_path):
    for folder in (
        "docs/images",
        "src/distill/training",
        "src/distill/evaluation/reporting",
        "src/distill/sweeps/report",
    ):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "src/distill/training/closing_table.py").write_text("def table():\n    return 1\n")
    (tmp_path / "src/distill/evaluation/reporting/style.css").write_text("p {}")
    for group in pictures.SOURCES:
        pictures.record(tmp_path, group)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "text", "groups"),
    [
        ("training/closing_table.py", 'def table():\n    """Shown at the end."""\n    return 1  # row\n', []),
        ("training/closing_table.py", "def table():\n    return 2\n", ["closing-table"]),
        ("evaluation/reporting/style.css", "p { color: red }", ["report", "sweep"]),
        ("sweeps/report/maps.py", "cells = 3\n", ["sweep"]),
    ],
)
def test_code_that_draws_otherwise_makes_pictures_old(tree, file, text, groups):
    assert pictures.outdated(tree) == []
    (tree / "src" / "distill" / file).write_text(text)
    assert pictures.outdated(tree) == groups
    for group in groups:
        pictures.record(tree, group)
    assert pictures.outdated(tree) == []
    assert set(json.loads((tree / pictures.RECORD).read_text())) == set(pictures.SOURCES)


def test_the_last_table_of_an_output_is_taken():
    first, second = ("  title\n┏━┓\n┃ a ┃\n└─┘\n".replace("a", cell) for cell in "xy")
    assert pictures.closing_table(f"epoch 1/2\n{first}results\n{second}results: summary.json\n") == second
    with pytest.raises(ValueError, match="no closing table"):
        pictures.closing_table("error: none\n")
