"""Images per second of all sides as one SVG file, for a page that is no page of ours."""

from collections.abc import Mapping, Sequence

from markupsafe import escape

from benchmarks.results import Spread

WIDTH, NAMES, ROW, BAR = 720, 250, 30, 14
PEER, OURS, OTHER = "#c05a0b", "#1f6fd0", "#5c6068"


def picture(sides: Mapping[str, Sequence[float]]) -> str:
    """Bars of the medians, with a line from the smallest to the largest value.

    Args:
        sides: images per second by name.
    """
    found = {name: Spread.of(values) for name, values in sides.items()}
    top = max(s.high for s in found.values())
    room = WIDTH - NAMES - 80

    def x(value: float) -> float:
        return NAMES + room * value / top

    height = 20 + ROW * len(found)
    parts = []
    for i, (name, s) in enumerate(found.items()):
        middle = 10 + ROW * i + ROW / 2
        colour = PEER if name.startswith("torchdistill") else OURS if name.startswith("ours") else OTHER
        parts.append(f'<text x="{NAMES - 10}" y="{middle}" dy=".35em" text-anchor="end">{escape(name)}</text>')
        size = f'width="{x(s.median) - NAMES:.1f}" height="{BAR}"'
        parts.append(f'<rect x="{NAMES}" y="{middle - BAR / 2}" {size} fill="{colour}"/>')
        ends = f'x1="{x(s.low):.1f}" x2="{x(s.high):.1f}"'
        parts.append(f'<line {ends} y1="{middle}" y2="{middle}" stroke="#1d1f24" stroke-width="1.5"/>')
        parts.append(f'<text x="{x(s.high) + 8:.1f}" y="{middle}" dy=".35em">{s.median:.0f}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="images per second"><rect width="{WIDTH}" height="{height}" fill="#ffffff"/>'
        f'<g font-family="system-ui, sans-serif" font-size="13" fill="#1d1f24">{"".join(parts)}</g></svg>\n'
    )
