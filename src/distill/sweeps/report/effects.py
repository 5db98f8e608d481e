"""Test accuracy over the values of each swept key."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

from distill.evaluation.reporting.charts import (
    Dot,
    category_axis,
    chart,
    dots,
    number_axis,
    plain,
    robust_range,
    value_range,
)
from distill.evaluation.reporting.rendering import Figure, Legend
from distill.sweeps.report.mean_std import MeanStd, display, number, ordered
from distill.sweeps.report.references import References
from distill.sweeps.report.results import SEED, JobResult, SweepResults

MAX_CATEGORIES = 16  # distinct numbers of a key up to which the axis is categorical


class Level(NamedTuple):
    """The score of a reference; ``color`` is a CSS variable of the page."""

    name: str
    value: float
    color: str


def reference_levels(references: References, split: str = "test") -> list[Level]:
    """The teachers (where they are at most three) and the student alone."""
    teachers = references.teachers if split == "test" else references.teachers_val
    levels = [Level(f"teacher {name}", accuracy, "teacher") for name, accuracy in teachers.items()]
    levels = levels if len(levels) <= 3 else []
    if references.only_baseline is not None and (alone := getattr(references.only_baseline, split)):
        levels.append(Level("student without distillation", alone.mean, "alone"))
    return levels


def effects(results: SweepResults, references: References) -> tuple[list[Figure], Legend]:
    """A chart per swept key, the seed's last: test score of every run over the key's values; and their legend."""
    jobs = [job for job in results.finished if not math.isnan(job.test)]
    low, high = robust_range([job.test for job in jobs], direction=results.metric.direction)
    margin = 2 * (high - low) or 0.05 * (
        1.0 if results.metric.unit == "share" else abs(high)
    )  # levels further away would compress the runs
    levels = reference_levels(references)
    visible = [level for level in levels if low - margin <= level.value <= high + margin]
    bounds = [low, high, *(level.value for level in visible)]
    y_range = value_range(min(bounds), max(bounds), results.metric.unit == "share")
    figures = []
    for i, key in [*enumerate(results.keys), (-1, SEED)]:
        values = [job.seed if i < 0 else job.values[i] for job in jobs]
        if len(set(values)) > 1:
            figures.append(_effect(key, values, jobs, results, y_range, visible))
    reference_entries = [
        (
            f"{level.name} {results.metric.display(level.value)}{'' if level in visible else ', beyond the axis'}",
            level.color,
            "dashed",
        )
        for level in levels
    ]
    entries = [("a run", "k9", "spot"), ("mean ± std of the runs with that value", "student", ""), *reference_entries]
    return figures, entries


def _effect(
    key: str, values: Sequence[str | None], jobs: Sequence[JobResult], results: SweepResults,
    y_range: Sequence[float], levels: Sequence[Level],
) -> Figure:  # fmt: skip
    distinct, share = ordered(values), results.metric.unit == "share"
    is_numeric = all(number(value) is not None for value in distinct)
    texts = [
        f"job {job.name}, {results.describe(job.values)} seed={job.seed}: {job.metric.display(job.test)}"
        for job in jobs
    ]
    if len(distinct) > MAX_CATEGORIES and is_numeric:
        xs = [number(value) or 0.0 for value in values]
        points = [
            Dot(x, job.test, "k9", text, link=results.query(job.values))
            for x, job, text in zip(xs, jobs, texts, strict=True)
        ]
        note = f"{len(distinct)} values from {display(distinct[0])} to {display(distinct[-1])}"
        return Figure(
            key, _chart(points, f"{results.metric.word} over {key}", number_axis(xs, ""), y_range, levels, share), note
        )
    points = [
        Dot(distinct.index(value) + _jitter(n), job.test, "k9", text, link=results.query(job.values))
        for n, (job, value, text) in enumerate(zip(jobs, values, texts, strict=True))
    ]
    tests = {value: [job.test for job, v in zip(jobs, values, strict=True) if v == value] for value in distinct}
    statistics = {value: MeanStd.of(accuracies, results.metric) for value, accuracies in tests.items()}
    means = [each.mean for each in statistics.values()]
    unit = " points" if share else ""
    xaxis = category_axis([display(value) for value in distinct])
    figure = _chart(points, f"{results.metric.word} by {key}", xaxis, y_range, levels, share)
    figure.add_scatter(
        x=list(range(len(means))),
        y=means,
        error_y={"array": [each.std or 0.0 for each in statistics.values()], "color": "var(--student)", "width": 0},
        mode="lines+markers" if is_numeric and key != SEED else "markers",
        line={"color": "var(--student)", "width": 1.6},
        marker={"symbol": "square", "size": 9, "line": {"color": "var(--surface)", "width": 1.2}},
        hovertext=[plain(f"{key}={display(v)}: {each}, {each.n} runs") for v, each in statistics.items()],
        customdata=[f"{key}={display(value)}" for value in distinct],
    )
    return Figure(key, figure, f"means up to {results.metric.number(max(means) - min(means))}{unit} apart")


def _chart(
    points: Sequence[Dot],
    label: str,
    xaxis: dict[str, Any],
    y_range: Sequence[float],
    levels: Sequence[Level],
    share: bool,
) -> go.Figure:
    """The runs and the references; runs beyond the y axis are hollow, at its end."""
    low, high = y_range
    symbols = ["circle" if low <= point.y <= high else "circle-open" for point in points]
    shapes = [
        {
            "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": level.value, "y1": level.value,
            "name": plain(level.name), "line": {"color": f"var(--{level.color})", "width": 1.6, "dash": "dash"},
        }
        for level in levels
    ]  # fmt: skip
    trace = dots([point._replace(y=min(max(point.y, low), high)) for point in points], symbols)
    yaxis = {"range": list(y_range), **({"tickformat": "~%"} if share else {})}
    return chart([trace], label, xaxis=xaxis, yaxis=yaxis, shapes=shapes)


def _jitter(n: int) -> float:
    """A fixed sequence between −0.25 and 0.25 (golden ratio): runs of one value and one accuracy stay visible."""
    return 0.5 * ((n * 0.6180339887) % 1) - 0.25
