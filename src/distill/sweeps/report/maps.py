"""Accuracy over two swept keys: as a heatmap where they form a grid, as a scatter plot where they do not."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import plotly.graph_objects as go

from distill.evaluation.reporting.charts import (
    Dot,
    category_axis,
    chart,
    color_axis,
    dots,
    number_axis,
    outline,
    plain,
    robust_range,
    text_on,
)
from distill.evaluation.reporting.rendering import Figure
from distill.sweeps.report.mean_std import MeanStd, display, number, ordered
from distill.sweeps.report.results import Setting, SweepResults

PREFERRED = ("kd.T", "kd.alpha")  # shown against each other where both were swept
MAX_VALUES = 24  # of a key in a heatmap
CELL_PX = (52, 44)  # smallest width, height
MAX_FACETS = 6  # combinations of further keys that get a heatmap each
SPLITS = (("test", "test"), ("val", "validation"))


@dataclass(frozen=True)
class Maps:
    """The maps of a sweep."""

    figures: list[Figure]  # test and validation in turn
    notes: list[str]  # a sentence each
    wide: bool = False  # too wide to stand beside another


def _choose_keys(results: SweepResults) -> tuple[int, int, bool] | None:
    """Which two keys, and whether they form a grid: at least a third of their combinations were run."""
    keys, settings = results.keys, [setting for setting in results.settings if setting.val]
    varied = [i for i in range(len(keys)) if len({setting.values[i] for setting in settings}) > 1]
    for a, b in sorted(combinations(varied, 2), key=lambda pair: [keys[i] not in PREFERRED for i in pair]):
        sizes = [len({setting.values[i] for setting in settings}) for i in (a, b)]
        if max(sizes) <= MAX_VALUES and 3 * len({(s.values[a], s.values[b]) for s in settings}) >= math.prod(sizes):
            return a, b, True
    numeric = [i for i in varied if all(number(setting.values[i]) is not None for setting in settings)]
    return next(((a, b, False) for a, b in combinations(numeric, 2)), None)


def maps(results: SweepResults) -> Maps | None:
    """The maps; None where no two keys were swept that can be shown against each other."""
    chosen = _choose_keys(results)
    if chosen is None:
        return None
    a, b, is_grid = chosen
    return _heatmaps(results, a, b) if is_grid else _scatter(results, a, b)


def _color_axis(results: SweepResults, split: str) -> dict[str, Any]:
    """The colors of a split's scores, bad outliers in that of the worst."""
    statistics: list[MeanStd] = [getattr(setting, split) for setting in results.settings]
    means = [each.mean for each in statistics if each]
    low, high = robust_range(means, direction=results.metric.direction)
    beyond = sum(not low - 1e-8 <= mean <= high + 1e-8 for mean in means)
    return color_axis(low, high, beyond, results.metric.display, results.metric.direction)


def _facets(results: SweepResults, rest: Sequence[int]) -> dict[str, list[Setting]]:
    """The settings by the values of all other keys; all together where these are too many."""
    facets: dict[tuple[str | None, ...], list[Setting]] = {}
    for setting in results.settings:
        facets.setdefault(tuple(setting.values[i] for i in rest), []).append(setting)
    if len(facets) > MAX_FACETS:
        return {"": results.settings}
    order = [ordered(setting.values[i] for setting in results.settings) for i in rest]
    varied = [j for j, values in enumerate(order) if len(values) > 1]
    by_position = sorted(facets, key=lambda facet: [order[j].index(value) for j, value in enumerate(facet)])
    return {" ".join(f"{results.keys[rest[j]]}={display(f[j])}" for j in varied): facets[f] for f in by_position}


def _heatmaps(results: SweepResults, a: int, b: int) -> Maps:
    rest = [i for i in range(len(results.keys)) if i not in (a, b)]
    facets = _facets(results, rest)
    percent = ", in percent" if results.metric.unit == "share" else ""
    notes = [f"Mean over seeds, ± standard deviation{percent}. Outlined: the best setting on validation."]
    if len({tuple(setting.values[i] for i in rest) for setting in results.settings}) > len(facets):
        others = ", ".join(results.keys[i] for i in rest)
        notes.append(f"A cell shows the best on validation of the settings that differ in {others}.")
    figures = [
        _heatmap(results, settings, (a, b), split, f"{results.metric.label}, {label}{f', {name}' if name else ''}")
        for name, settings in facets.items()
        for split, label in SPLITS
    ]
    sizes = [len({setting.values[i] for setting in results.settings}) for i in (a, b)]
    return Maps(figures, notes, wide=min(max(sizes), 2 * min(sizes)) > 6)


def _heatmap(
    results: SweepResults, settings: list[Setting], keys: tuple[int, int], split: str, heading: str
) -> Figure:  # fmt: skip
    a, b = keys
    columns, rows = (ordered(setting.values[i] for setting in results.settings) for i in keys)
    if len(columns) > 2 * len(rows):  # the longer key goes down, where a page has room
        columns, rows, a, b = rows, columns, b, a
    cells: dict[tuple[int, int], Setting] = {}
    for setting in settings:  # the best on validation comes first
        cells.setdefault((columns.index(setting.values[a]), rows.index(setting.values[b])), setting)
    by_cell: dict[tuple[int, int], MeanStd] = {xy: getattr(setting, split) for xy, setting in cells.items()}
    colors = _color_axis(results, split)

    def grid(of: Callable[[Setting], Any]) -> list[list[Any]]:
        return [[of(cells[x, y]) if (x, y) in cells else None for x in range(len(columns))] for y in range(len(rows))]

    heatmap = go.Heatmap(
        z=grid(lambda setting: getattr(setting, split).mean),
        coloraxis="coloraxis",
        xgap=3,
        ygap=3,
        hovertext=grid(lambda setting: plain(describe(results, setting))),
        customdata=grid(lambda setting: results.query(setting.values)),
    )
    numbers = go.Scatter(
        x=[x for x, _ in cells],
        y=[y for _, y in cells],
        mode="text",
        text=[_cell_text(setting, by_cell[xy]) for xy, setting in cells.items()],
        textfont={
            "size": 12,
            "color": [text_on(each.mean, colors) if each else "var(--muted)" for each in by_cell.values()],
        },
        hoverinfo="skip",
    )
    xaxis, yaxis = (
        {**category_axis(list(map(display, names))), "title": {"text": plain(results.keys[i])}, "showgrid": False}
        for names, i in ((columns, a), (rows, b))
    )
    figure = chart(
        [heatmap, numbers],
        f"{results.metric.word} over {results.keys[b]} and {results.keys[a]}",
        110 + CELL_PX[1] * len(rows),
        xaxis=xaxis | {"showline": False},
        yaxis=yaxis | {"range": [len(rows) - 0.5, -0.5]},
        shapes=[outline(*xy, "ink", 3) for xy, setting in cells.items() if setting == results.best],
        coloraxis=colors,
    )
    return Figure(heading, figure, min_width=CELL_PX[0] * (len(columns) + 2))


def _cell_text(setting: Setting, statistics: MeanStd) -> str:
    """Mean and standard deviation, of shares in percent; the state of a setting without a finished job."""
    if not statistics:
        return setting.jobs[0].job.state.value
    std = "" if statistics.std is None else f"<br>± {statistics.metric.number(statistics.std)}"
    return f"{statistics.metric.number(statistics.mean)}{std}"


def describe(results: SweepResults, setting: Setting) -> str:
    """A setting and its scores in a line."""
    name, n = results.describe(setting.values), setting.test.n
    if not setting.val:
        return f"{name}: {setting.jobs[0].job.state.value}"
    return f"{name}: test {setting.test}, validation {setting.val}, {n} seed{'s' if n != 1 else ''}"


def _scatter(results: SweepResults, a: int, b: int) -> Maps:
    settings = [setting for setting in results.settings if setting.val and setting.test][::-1]
    xs, ys = ([number(setting.values[i]) or 0.0 for setting in settings] for i in (a, b))
    xaxis, yaxis = number_axis(xs, results.keys[a]), number_axis(ys, results.keys[b])
    label = f"{results.metric.word} over {results.keys[b]} and {results.keys[a]}"
    figures = []
    for split, heading in SPLITS:
        points = [
            Dot(
                x, y, getattr(setting, split).mean, describe(results, setting), setting == results.best,
                results.query(setting.values),
            )
            for setting, x, y in zip(settings, xs, ys, strict=True)
        ]  # fmt: skip
        trace = dots(points).update(marker={"coloraxis": "coloraxis"})
        colors = _color_axis(results, split)
        figure = chart([trace], label, 320, xaxis=xaxis, yaxis=yaxis, coloraxis=colors)
        figures.append(Figure(f"{results.metric.label}, {heading}", figure))
    return Maps(figures, ["A point is a setting; the better on validation lie on top, the best one is outlined."])
