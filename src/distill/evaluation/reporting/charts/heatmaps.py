"""Numbers as colors and bars: a heatmap as a table, a confusion matrix as SVG, a bar chart."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from distill.evaluation.reporting.charts.axes import svg

_STOPS = ((68, 1, 84), (71, 45, 123), (59, 82, 139), (44, 114, 142), (33, 145, 140), (40, 174, 128), (94, 201, 98),
          (173, 220, 48), (253, 231, 37))  # fmt: skip


def viridis(share: float) -> tuple[str, str]:
    """A background color, and the text color (black or white) with the better contrast on it.

    Args:
        share: from 0 (dark blue) to 1 (yellow); clamped.

    Example:
        >>> viridis(0), viridis(1)
        (('#440154', '#fff'), ('#fde725', '#14161a'))
    """
    position = min(max(share, 0.0), 1.0) * (len(_STOPS) - 1)
    i = min(int(position), len(_STOPS) - 2)
    rgb = [round(a + (b - a) * (position - i)) for a, b in zip(_STOPS[i], _STOPS[i + 1], strict=True)]
    linear = [((c / 255 + 0.055) / 1.055) ** 2.4 if c > 10 else c / 255 / 12.92 for c in rgb]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return f"#{bytes(rgb).hex()}", "#fff" if luminance < 0.19 else "#14161a"


def color_bar(low: str, high: str, note: str = "") -> Markup:
    """The legend of the colormap: a strip from ``low`` to ``high``."""
    stops = ", ".join(viridis(i / 8)[0] for i in range(9))
    strip = f'<i class="strip" style="background:linear-gradient(to right, {stops})"></i>'
    note_span = f" <span>{escape(note)}</span>" if note else ""
    return Markup(f'<p class="legend scale"><span>{escape(low)}{strip}{escape(high)}</span>{note_span}</p>')


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
    """A heatmap with row and column names; viridis ends at ``color_range``. None: an empty cell."""
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


def heatmap(values: Sequence[Sequence[float]], names: Sequence[str], title: str) -> Markup:
    """A difference of confusion matrices, row by row: positive in the student's color, negative in the teacher's."""
    n = len(names)
    cell = 30 if n <= 12 else 22
    margin = 14 + 6.2 * min(max(map(len, names), default=1), 14)
    labels = [escape(name if len(name) <= 14 else f"{name[:13]}…") for name in names]
    largest = max((abs(value) for row in values for value in row), default=1) or 1
    size = margin + n * cell + 2
    body = ""
    for i, row in enumerate(values):
        middle = margin + (i + 0.5) * cell
        body += f'<text x="{margin - 5:.1f}" y="{middle:.1f}" dy=".32em" text-anchor="end">{labels[i]}</text>'
        body += f'<text transform="translate({middle:.1f} {margin - 5:.1f}) rotate(-60)">{labels[i]}</text>'
        for j, value in enumerate(row):
            left = margin + j * cell
            color = "student" if value > 0 else "teacher"
            opacity = 0.75 * (abs(value) / largest) ** 0.6 if value else 0
            body += (
                f'<rect class="{"cell diagonal-cell" if i == j else "cell"}" x="{left:.1f}" '
                f'y="{margin + i * cell:.1f}" width="{cell - 1}" height="{cell - 1}" '
                f'style="fill:var(--{color});fill-opacity:{opacity:.2f}">'
                f"<title>{escape(f'true class {names[i]}, answer {names[j]}: {value:+g}')}</title></rect>"
            )
            if n <= 12 and value:
                body += (
                    f'<text class="value" x="{left + cell / 2:.1f}" y="{middle:.1f}" dy=".32em" '
                    f'text-anchor="middle">{value:+g}</text>'
                )
    return svg(body, title, size + 14, size)


class Bar(NamedTuple):
    """One bar: its name, its value, the text at its end, its color."""

    name: str
    value: float
    text: str
    color: str


def bars(rows: Sequence[Bar], largest: float | None = None) -> Markup:
    """Bars as long as the absolute values; ``largest`` fills the column (None: the longest bar)."""
    full = largest or max((abs(row.value) for row in rows), default=1) or 1
    items = "".join(
        f'<li><span class="name" title="{escape(row.name)}">{escape(row.name)}</span>'
        f'<span class="track"><i style="width:{100 * min(abs(row.value) / full, 1):.1f}%;'
        f'--tone:var(--{row.color})"></i></span><span class="text">{escape(row.text)}</span></li>'
        for row in rows
    )
    return Markup(f'<ul class="bars">{items}</ul>')
