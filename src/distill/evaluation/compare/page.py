"""The page compare.html."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from distill.evaluation.compare.entries import Entry
from distill.evaluation.compare.table import filled
from distill.evaluation.learning_curves import curves
from distill.evaluation.reporting.charts import Bar, Figure, Line, bars, legend, lines, render
from distill.utils.units import percent, short

TEMPLATES = Path(__file__).parent / "templates"
DRAWN = 10  # runs whose curves are drawn, each in one colour


def _bars(runs: list[Entry]) -> list[Figure]:
    """Accuracy, calibration, size and speed of every run as bars."""
    ece = [run.calibration.ece if run.calibration else None for run in runs]
    parameters = [run.student.size.parameters for run in runs]
    accuracy, speeds = [run.student.test.acc for run in runs], [run.student.speed for run in runs]
    quantities: list[tuple[str, Sequence[float | None], Callable[[Any], str], float | None]] = [
        ("top-1, test", accuracy, percent, 1.0),
        ("ECE, evaluated", ece, lambda value: percent(value) or "not evaluated", None),
        ("parameters", parameters, short, None),
        ("latency, batch 1", [speed.latency_ms for speed in speeds], "{:.2f} ms".format, None),
        ("throughput", [speed.throughput for speed in speeds], lambda value: short(value, "/s"), None),
    ]
    return [
        Figure(
            heading,
            bars(
                [
                    Bar(run.label, value or 0.0, text(value), f"k{i % 10}")
                    for i, (run, value) in enumerate(zip(runs, values, strict=True))
                ],
                largest,
            ),
        )
        for heading, values, text, largest in quantities
        if any(value is not None for value in values)
    ]


def _curves(runs: list[Entry]) -> list[Figure]:
    """Validation accuracy and cross-entropy of the runs that logged them."""
    curves_by_run = [(run.label, curves(run.folder)) for run in runs[:DRAWN]]
    figures = []
    for name, heading, share in (("acc", "top-1, validation", True), ("hard", "cross-entropy, validation", False)):
        series = [
            Line(label, by_name.get(name, {}).get("val", []), f"k{i}")
            for i, (label, by_name) in enumerate(curves_by_run)
        ]
        if any(line.points for line in series):
            figures.append(Figure(heading, lines(series, heading, share=share)))
    return figures


def render_page(runs: list[Entry], warnings: list[str]) -> str:
    """The page as one HTML file."""
    columns, table = filled(runs)
    return render(
        "compare.html",
        TEMPLATES,
        count=len(runs),
        warnings=warnings,
        columns=columns,
        table=table,
        bars=_bars(runs),
        curves=_curves(runs),
        curves_legend=legend([(run.label, f"k{i}", "") for i, run in enumerate(runs[:DRAWN])]),
        left_out=max(0, len(runs) - DRAWN),
        commands=[(run.label, run.summary.command) for run in runs],
    )
