"""The page compare.html."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from distill.evaluation.compare.entries import Entry
from distill.evaluation.compare.table import filled
from distill.evaluation.learning_curves import curves
from distill.evaluation.reporting.charts import Bar, Line, bars, lines
from distill.evaluation.reporting.rendering import Figure, render
from distill.training.summary import kept_epochs
from distill.utils.units import percent, short

TEMPLATES = Path(__file__).parent / "templates"
DRAWN = 10  # runs whose curves are drawn, each in one color


def _bars(runs: list[Entry]) -> list[Figure]:
    """Accuracy, calibration, size and speed of every run as bars."""
    ece = [run.calibration.ece if run.calibration else None for run in runs]
    parameters = [run.student.size.parameters for run in runs]
    score = runs[0].summary.task.chooses
    scores, speeds = [run.student.test[score.name] for run in runs], [run.student.speed for run in runs]
    quantities: list[tuple[str, Sequence[float | None], Callable[[Any], str], float | None]] = [
        (f"{score.label}, test", scores, score.display, 1.0 if score.unit == "share" else None),
        ("ECE, evaluated", ece, lambda value: percent(value) or "not evaluated", None),
        ("parameters", parameters, short, None),
        ("latency p50, batch 1", [speed.latency_ms for speed in speeds], "{:.2f} ms".format, None),
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
                heading,
                largest,
            ),
        )
        for heading, values, text, largest in quantities
        if any(value is not None for value in values)
    ]


def _curves(runs: list[Entry]) -> list[Figure]:
    """Score and supervised loss on validation of the runs that logged them."""
    score = runs[0].summary.task.chooses
    curves_by_run = [(run.label, curves(run.folder)) for run in runs[:DRAWN]]
    figures = []
    shown = ((score.name, score.label, score.unit == "share"), ("hard", "supervised loss", False))
    for name, heading, share in shown:
        heading = f"{heading}, validation"
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
        epochs=kept_epochs(run.summary for run in runs),
        columns=columns,
        table=table,
        bars=_bars(runs),
        curves=_curves(runs),
        curves_legend=[(run.label, f"k{i}", "") for i, run in enumerate(runs[:DRAWN])],
        left_out=max(0, len(runs) - DRAWN),
        commands=[(run.label, run.summary.command) for run in runs],
    )
