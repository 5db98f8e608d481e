"""A table of numbers as colours, with the numbers in it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from distill.evaluation.reporting.charts.colours import viridis


class Cell(NamedTuple):
    """One cell: its number, what is written large and small in it, what is said of it, whether it is outlined."""

    value: float
    text: str
    note: str
    said: str
    marked: bool = False


def cells(
    table: Sequence[Sequence[Cell | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    row_label: str,
    column_label: str,
    ends: tuple[float, float],
) -> Markup:
    """A heatmap that is read as a table, and scrolls sideways where it is wider than its column.

    Args:
        table: row by row; None: there is no such number.
        rows: their names.
        columns: likewise.
        row_label: what a row is.
        column_label: what a column is.
        ends: the numbers with the darkest and the lightest colour.
    """
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    body = ""
    for name, row in zip(rows, table, strict=True):
        body += f'<tr><th scope="row">{escape(name)}</th>{"".join(map(_cell, row, [ends] * len(row)))}</tr>'
    return Markup(
        f'<div class="scroll"><table class="cells"><thead><tr><th class="corner">{escape(row_label)}</th>'
        f'<th class="across" colspan="{len(columns)}">{escape(column_label)}</th></tr>'
        f"<tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(cell: Cell | None, ends: tuple[float, float]) -> str:
    if cell is None or math.isnan(cell.value):
        said = f' title="{escape(cell.said)}"' if cell else ""
        return f'<td class="none"{said}>{escape(cell.text) if cell else ""}</td>'
    low, high = ends
    fill, ink = viridis((cell.value - low) / (high - low) if high > low else 0.6)
    marked = ' class="marked"' if cell.marked else ""
    note = f"<small>{escape(cell.note)}</small>" if cell.note else ""
    return (
        f'<td{marked} style="background:{fill};color:{ink}" '
        f'title="{escape(cell.said)}"><b>{escape(cell.text)}</b>{note}</td>'
    )
