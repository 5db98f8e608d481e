"""A square matrix of signed numbers as colors."""

from collections.abc import Sequence

from markupsafe import Markup, escape

from distill.evaluation.reporting.charts.axes import svg


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
