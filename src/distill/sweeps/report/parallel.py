"""Every setting as a line over all swept keys: parallel coordinates.

Made of scatter traces: Plotly's own trace of this kind has no text at the pointer and no clicks, and needs WebGL.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

import plotly.graph_objects as go

from distill.evaluation.reporting.charts import Line, chart, line_trace, number_axis, plain, robust_range
from distill.evaluation.reporting.rendering import Figure
from distill.sweeps.report.effects import MAX_CATEGORIES
from distill.sweeps.report.maps import describe
from distill.sweeps.report.mean_std import display, number, ordered
from distill.sweeps.report.results import SweepResults

MAX_SETTINGS = 200  # that are drawn
STEPS = 3  # per axis: where a line can be pointed at, as many share their points on the axes
AXIS_PX = 105  # smallest distance of two axes


class Axis(NamedTuple):
    """One axis: the height of every setting, from 0 to 1, and its ticks with what a click on them chooses."""

    title: str
    heights: list[float]
    ticks: list[tuple[float, str, str | None]]


def varied_keys(results: SweepResults) -> list[int]:
    """The keys, by position, of which more than one value has a score."""
    scored = [setting.values for setting in results.settings if setting.val]
    return [i for i in range(len(results.keys)) if len({values[i] for values in scored}) > 1]


def parallel(results: SweepResults) -> Figure | None:
    """The chart of a sweep of more than two keys."""
    scored, keys = [setting for setting in results.settings if setting.val], varied_keys(results)
    if len(keys) < 3:
        return None
    step = math.ceil(len(scored) / MAX_SETTINGS)
    drawn = scored[::step][::-1]  # the better ones lie on top
    drawn += [results.best] if results.best and results.best not in drawn else []
    score = _score_axis([setting.val.mean for setting in drawn], results)
    axes = [*(_axis(results.keys[i], [setting.values[i] for setting in drawn]) for i in keys), score]
    traces = [
        line_trace(
            Line(
                describe(results, setting), _points([axis.heights[n] for axis in axes]),
                "student" if setting == results.best else f"s{round(9 * score.heights[n])}",
                thin=setting != results.best, link=results.query(setting.values),
            ),
            "%{fullData.name}",
        ).update(mode="lines")
        for n, setting in enumerate(drawn)
    ]  # fmt: skip
    count = f"{len(drawn)} of {len(scored)}" if step > 1 else f"{len(drawn)}"
    heading = f"{count} settings, by {results.metric.word} on validation"
    note = "A line is a setting, colored from the worst score to the best; the best one is thick and blue."
    return Figure(heading, _figure(traces, axes), note, min_width=AXIS_PX * len(axes))


def _figure(traces: list[go.Scatter], axes: Sequence[Axis]) -> go.Figure:
    ticks = [(x, *tick) for x, axis in enumerate(axes) for tick in axis.ticks]
    marks = [tick for tick in ticks if tick[3] is not None]
    traces.append(
        go.Scatter(
            x=[x for x, *_ in marks], y=[y for _, y, *_ in marks], mode="markers",
            marker={"symbol": "square", "size": 8, "color": "var(--muted)"},
            hovertext=[plain(link or "") for *_, link in marks], customdata=[link for *_, link in marks],
        )
    )  # fmt: skip
    labels = [
        {"x": x, "y": y, "text": plain(text), "showarrow": False, "xanchor": "left" if x == len(axes) - 1 else "right",
         "xshift": 8 if x == len(axes) - 1 else -8, "bgcolor": "var(--surface)", "opacity": 0.85, "font": {"size": 10}}
        for x, y, text, _ in ticks
    ]  # fmt: skip
    wrapped = ((axis.title.replace(".", ".\n") if len(axis.title) > 12 else axis.title) for axis in axes)
    names = [plain(title).replace("\n", "<br>") for title in wrapped]
    xaxis = {
        "tickvals": list(range(len(axes))), "ticktext": names, "side": "top", "tickangle": 0, "showgrid": True,
        "range": [-0.6, len(axes) - 0.45], "gridcolor": "var(--muted)", "showline": False,
    }  # fmt: skip
    yaxis = {"visible": False, "range": [-0.05, 1.05]}
    label = f"settings over {', '.join(axis.title for axis in axes)}"
    return chart(traces, label, 340, xaxis=xaxis, yaxis=yaxis, annotations=labels)


def _points(heights: Sequence[float]) -> list[tuple[float, float]]:
    parts = [n / STEPS for n in range(STEPS)]
    inner = [(x + t, a + t * (b - a)) for x, (a, b) in enumerate(pairwise(heights)) for t in parts]
    return [(round(x, 3), round(y, 4)) for x, y in [*inner, (len(heights) - 1, heights[-1])]]


def _axis(key: str, values: Sequence[str | None]) -> Axis:
    """Of few values or of words: all at equal distances; of many numbers: a scale, logarithmic where they need one."""
    distinct = ordered(values)
    numbers = [number(value) for value in values]
    if len(distinct) <= MAX_CATEGORIES or None in numbers:
        heights = {value: n / max(len(distinct) - 1, 1) for n, value in enumerate(distinct)}
        shown = distinct[:: math.ceil(len(distinct) / MAX_CATEGORIES)]
        ticks = [(heights[value], display(value), f"{key}={display(value)}") for value in shown]
        return Axis(key, [heights[value] for value in values], [*ticks])
    known = [each for each in numbers if each is not None]
    is_squeezed = median(known) - min(known) < 0.25 * (max(known) - min(known))
    is_log = is_squeezed and number_axis(known, key)["type"] == "log"
    scaled = [math.log(each) for each in known] if is_log else known
    low, high = min(scaled), max(scaled)
    ends = [low, (low + high) / 2, high]
    texts = [f"{math.exp(each) if is_log else each:.3g}" for each in ends]
    return Axis(key, [(x - low) / (high - low) for x in scaled], [(n / 2, text, None) for n, text in enumerate(texts)])


def _score_axis(scores: Sequence[float], results: SweepResults) -> Axis:
    """The score on validation, the better the higher; bad outliers are at its lower end."""
    metric = results.metric
    ends = robust_range(scores, direction=metric.direction)
    worst, best = ends if metric.direction == "max" else ends[::-1]
    shares = ((score - worst) / (best - worst) if best != worst else 0.5 for score in scores)
    ticks = [(0.0, worst), (1.0, best)] if best != worst else [(0.5, best)]
    return Axis(metric.word, [max(each, 0.0) for each in shares], [(y, metric.display(end), None) for y, end in ticks])
