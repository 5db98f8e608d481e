"""Tables on the terminal and in Markdown."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def print_table(table: "Table", lines: Iterable[str], width: int = 120) -> None:
    """Prints a table and the lines below it, which are not wrapped; ``width`` holds where stdout is no terminal."""
    from rich.console import Console

    console = Console(width=None if Console().is_terminal else width)
    console.print(table)
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, whose first row is the header.

    Example:
        >>> print(markdown_table([["a", "b"], ["1", "2"]]))
        | a | b |
        | --- | --- |
        | 1 | 2 |
    """
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
