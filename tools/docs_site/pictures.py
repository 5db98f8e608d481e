"""The pictures of README and docs: what each is taken of, and whether that has changed since.

``docs/images/sources.json`` keeps a digest of the code that draws what a picture shows. Where the code has another one
today, ``tests/docs_site/test_pictures.py`` fails and names the command that takes the pictures anew.
"""

import ast
import hashlib
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

# The pictures by the first part of their names, and what draws what they show.
SOURCES = {
    "closing-table": ("src/distill/training/closing_table.py",),
    "report": ("src/distill/evaluation/reporting",),
    "sweep": ("src/distill/evaluation/reporting", "src/distill/sweeps/report"),
}
RECORD = "docs/images/sources.json"
TABLE_PAGE = "docs/start_images.md"  # whose first block of text is the closing table
TABLE = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _content(path: Path) -> bytes:
    """What a file says; of Python its code alone, whatever its comments, docstrings and layout."""
    if path.suffix != ".py":
        return path.read_bytes()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            del body[0]
    return ast.unparse(tree).encode()


def digest(root: Path, sources: Sequence[str]) -> str:
    """A digest of files, and of the files in folders."""
    places = [root / source for source in sources]
    files = [file for place in places for file in (sorted(place.rglob("*")) if place.is_dir() else [place])]
    whole = hashlib.sha256()
    for file in files:
        if file.is_file() and "__pycache__" not in file.parts:
            whole.update(str(file.relative_to(root)).encode() + b"\0" + _content(file) + b"\0")
    return whole.hexdigest()


def record(root: Path, group: str) -> None:
    """Notes that the pictures of a group show what today's code draws."""
    path = root / RECORD
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    known[group] = digest(root, SOURCES[group])
    path.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def outdated(root: Path) -> list[str]:
    """The groups of pictures that show what another state of the code drew."""
    known = json.loads((root / RECORD).read_text(encoding="utf-8"))
    return [group for group, sources in SOURCES.items() if known.get(group) != digest(root, sources)]


def closing_table(output: str) -> str:
    """The closing table in what ``train.py`` printed.

    Raises:
        ValueError: there is none.
    """
    found = re.findall(r"^ *\S.*\n┏[^┘]*┘$", output, re.MULTILINE)
    if not found:
        raise ValueError("no closing table in the output")
    return "".join(f"{line.rstrip()}\n" for line in found[-1].splitlines())


def drawn(table: str) -> str:
    """A table of text as an SVG image that needs no font from elsewhere."""
    console = Console(record=True, width=max(map(len, table.splitlines())), file=io.StringIO(), legacy_windows=False)
    console.print(Text(table.rstrip("\n")))
    image = console.export_svg(title="make demo", theme=DIMMED_MONOKAI, unique_id="table")
    image = re.sub(r"@font-face \{.*?\}\n", "", image, flags=re.DOTALL)
    image = image.replace("font-family: Fira Code, monospace", "font-family: monospace")
    return re.sub(r"[ \t]+$", "", image, flags=re.MULTILINE)


def with_table(page: str, table: str) -> str:
    """The page with the table in its first block of text."""
    return TABLE.sub(lambda _: f"```text\n{table}```", page, count=1)
