"""A horizontal bar chart."""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape


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
