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


def _bars(runs: list[Entry]) -> list[Figure]:
    """What a run is chosen by, each as bars."""
    accuracy = [run.student.test.acc for run in runs]
    figures: list[tuple[str, list[float], list[str], float | None]] = [
        ("top-1, test", accuracy, [percent(value) for value in accuracy], 1.0)
    ]
    ece = [run.calibration.ece if run.calibration else None for run in runs]
    if any(value is not None for value in ece):
        figures.append(("ECE, evaluated", [v or 0.0 for v in ece], [percent(v) or "not evaluated" for v in ece], None))
    parameters = [float(run.student.size.parameters) for run in runs]
    figures.append(("parameters", parameters, list(map(short, parameters)), None))
    latency = [run.student.speed.latency_ms for run in runs]
    figures.append(("latency, batch 1", latency, [f"{value:.2f} ms" for value in latency], None))
    throughput = [run.student.speed.throughput for run in runs]
    figures.append(("throughput", throughput, [short(value, "/s") for value in throughput], None))
    return [
        Figure(
            heading,
            bars(
                [
                    Bar(run.label, value, text, f"k{i % 10}")
                    for i, (run, value, text) in enumerate(zip(runs, values, texts, strict=True))
                ],
                largest,
            ),
        )
        for heading, values, texts, largest in figures
    ]


def _curves(runs: list[Entry]) -> list[Figure]:
    """Validation accuracy and cross-entropy of the runs that kept them."""
    read = [(run.label, curves(run.folder)) for run in runs[:DRAWN]]
    figures = []
    for name, heading, share in (("acc", "top-1, validation", True), ("hard", "cross-entropy, validation", False)):
        series = [Line(label, by_name.get(name, {}).get("val", []), f"k{i}") for i, (label, by_name) in enumerate(read)]
        if any(line.points for line in series):
            figures.append(Figure(heading, lines(series, heading, share=share)))
    return figures


def _names(runs: list[Entry]) -> Markup:
    return legend([(run.label, f"k{i}", "") for i, run in enumerate(runs[:DRAWN])])


def render_page(runs: list[Entry], warnings: list[str]) -> str:
    """The page as HTML, complete in itself."""
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
        curves_legend=_names(runs),
        left_out=max(0, len(runs) - DRAWN),
        commands=[(run.label, run.summary.command) for run in runs],
    )
