"""Named bars, one below the other."""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape


class Bar(NamedTuple):
    """One bar: its name, its length, what is written at its end, its colour."""

    name: str
    value: float
    text: str
    tone: str


def bars(rows: Sequence[Bar], largest: float | None = None) -> Markup:
    """Bars from zero to the right.

    Args:
        rows: the bars; of a negative value the length counts.
        largest: the value that fills the column; None: the longest bar's.
    """
    top = largest or max((abs(row.value) for row in rows), default=1) or 1
    items = "".join(
        f'<li><span class="name" title="{escape(row.name)}">{escape(row.name)}</span>'
        f'<span class="track"><i style="width:{100 * min(abs(row.value) / top, 1):.1f}%;'
        f'--tone:var(--{row.tone})"></i></span><span class="text">{escape(row.text)}</span></li>'
        for row in rows
    )
    return Markup(f'<ul class="bars">{items}</ul>')
