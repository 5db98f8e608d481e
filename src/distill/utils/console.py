"""Tables on the terminal and in Markdown."""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], **settings: str) -> "Table":
    """A table for :func:`print_table`: labels on the left, the other columns on the right; ``settings`` as of rich."""
    from rich.table import Table

    view = Table(**settings)  # type: ignore[arg-type]
    for i, column in enumerate(columns):
        view.add_column(column, justify="right" if i else "left", overflow="fold")
    for row in rows:
        view.add_row(*row)
    return view


def print_table(table: "Table", lines: Iterable[str], width: int = 120) -> None:
    """Prints a table and the lines below it as they are; ``width`` holds where stdout is no terminal."""
    from rich.console import Console

    console = Console(width=None if Console().is_terminal else width, markup=False, emoji=False)
    console.print(table)
    for line in lines:
        print(line, flush=True)


def markdown_text(text: str) -> str:
    r"""Text as it is in Markdown, with what would be markup, HTML or an end of the line taken as it stands.

    Example:
        >>> print(markdown_text("a_b <b>*c*</b>"))
        a\_b \<b\>\*c\*\</b\>
    """
    return re.sub(r"([\\`*_\[\]<>|~$&#])", r"\\\1", " ".join(text.split()))


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, whose first row is the header.

    Example:
        >>> print(markdown_table([["a", "b"], ["1", "2"]]))
        | a | b |
        | --- | --- |
        | 1 | 2 |
    """
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = [cells[0], ["---"] * len(rows[0]), *cells[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
