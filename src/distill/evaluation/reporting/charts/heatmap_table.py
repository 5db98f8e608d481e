"""A heatmap as a table: numbers on the colors that stand for them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from distill.evaluation.reporting.charts.colormap import viridis


class Cell(NamedTuple):
    """One cell: its number, its large and its small text, whether it is outlined."""

    value: float
    text: str
    note: str
    tooltip: str
    highlighted: bool = False


def heatmap_table(
    table: Sequence[Sequence[Cell | None]],
    row_names: Sequence[str],
    column_names: Sequence[str],
    row_title: str,
    column_title: str,
    color_range: tuple[float, float],
) -> Markup:
    """A heatmap that scrolls sideways where it is wider than its column.

    Args:
        table: row by row; None: an empty cell.
        row_names: one per row.
        column_names: one per column.
        row_title: what a row is.
        column_title: what a column is.
        color_range: the numbers with the darkest and the lightest color.
    """
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in column_names)
    body = ""
    for name, row in zip(row_names, table, strict=True):
        body += f'<tr><th scope="row">{escape(name)}</th>{"".join(_cell(cell, *color_range) for cell in row)}</tr>'
    return Markup(
        f'<div class="scroll"><table class="cells"><thead><tr><th class="corner">{escape(row_title)}</th>'
        f'<th class="across" colspan="{len(column_names)}">{escape(column_title)}</th></tr>'
        f"<tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(cell: Cell | None, low: float, high: float) -> str:
    if cell is None:
        return '<td class="none"></td>'
    if math.isnan(cell.value):
        return f'<td class="none" title="{escape(cell.tooltip)}">{escape(cell.text)}</td>'
    background, text_color = viridis((cell.value - low) / (high - low) if high > low else 0.6)
    css_class = ' class="marked"' if cell.highlighted else ""
    return (
        f"<td{css_class} "
        f'style="background:{background};color:{text_color}" title="{escape(cell.tooltip)}">'
        f"<b>{escape(cell.text)}</b>{f'<small>{escape(cell.note)}</small>' if cell.note else ''}</td>"
    )
