"""compare.html."""

from pathlib import Path

from markupsafe import Markup

from distill.evaluation.compare.entries import Entry
from distill.evaluation.compare.table import filled
from distill.evaluation.learning_curves import curves
from distill.evaluation.reporting.charts import Bar, Figure, Line, bars, legend, lines, render
from distill.utils.units import percent, short

TEMPLATES = Path(__file__).parent / "templates"
DRAWN = 10  # runs with a curve of their own colour


def _bars(found: list[Entry]) -> list[Figure]:
    """What a run is chosen by, each as bars."""
    students = [entry.report["student"] for entry in found]
    accuracy = [student["last"]["test"]["acc"] for student in students]
    figures = [("top-1, test", accuracy, [percent(value) for value in accuracy], 1.0)]
    ece = [(entry.evaluation or {}).get("models", {}).get("student", {}).get("ece") for entry in found]
    if any(value is not None for value in ece):
        figures.append(("ECE, evaluated", [v or 0.0 for v in ece], [percent(v) or "not evaluated" for v in ece], None))  # type: ignore[arg-type]
    for heading, key, form in (
        ("parameters", "parameters", short),
        ("latency, batch 1", "latency_ms", lambda value: f"{value:.2f} ms"),
        ("throughput", "throughput", lambda value: short(value, "/s")),
    ):
        values = [float(student[key]) for student in students]
        figures.append((heading, values, [form(value) for value in values], None))  # type: ignore[arg-type]
    return [
        Figure(
            heading,
            bars(
                [
                    Bar(entry.label, value, text, f"k{i % 10}")
                    for i, (entry, value, text) in enumerate(zip(found, values, texts, strict=True))
                ],
                largest,
            ),
        )
        for heading, values, texts, largest in figures
    ]


def _curves(found: list[Entry]) -> list[Figure]:
    """Validation accuracy and cross-entropy of the runs that kept them."""
    read = [(entry.label, curves(entry.folder)) for entry in found[:DRAWN]]
    figures = []
    for name, heading, share in (("acc", "top-1, validation", True), ("hard", "cross-entropy, validation", False)):
        series = [Line(label, by_name.get(name, {}).get("val", []), f"k{i}") for i, (label, by_name) in enumerate(read)]
        if any(line.points for line in series):
            figures.append(Figure(heading, lines(series, heading, share=share)))
    return figures


def _names(found: list[Entry]) -> Markup:
    return legend([(entry.label, f"k{i}", "") for i, entry in enumerate(found[:DRAWN])])


def render_page(found: list[Entry], warnings: list[str]) -> str:
    """The page as HTML, complete in itself."""
    columns, table = filled(found)
    return render(
        "compare.html",
        TEMPLATES,
        count=len(found),
        warnings=warnings,
        columns=columns,
        table=table,
        bars=_bars(found),
        curves=_curves(found),
        curves_legend=_names(found),
        left_out=max(0, len(found) - DRAWN),
        commands=[(entry.label, entry.report["command"]) for entry in found],
    )
