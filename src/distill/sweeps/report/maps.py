"""Accuracy over two swept keys: as a heatmap where they form a grid, as a scatter plot where they do not."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from markupsafe import Markup

from distill.evaluation.reporting.charts import (  # fmt: skip
    Axis,
    Cell,
    Dot,
    Figure,
    color_bar,
    dot_plot,
    heatmap_table,
    robust_range,
    viridis,
)
from distill.sweeps.report.mean_std import MeanStd, display, number, ordered
from distill.sweeps.report.results import Setting, SweepResults
from distill.utils.units import percent

PREFERRED = ("kd.T", "kd.alpha")  # shown against each other where both were swept
MAX_VALUES = 24  # of a key in a heatmap
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


def _color_range(values: Sequence[float]) -> tuple[float, float, Markup]:
    """The ends of the colormap, and its legend."""
    low, high = robust_range(values)
    below = sum(value < low - 1e-8 for value in values)
    return low, high, color_bar(percent(low), percent(high), f"({below} lower)" if below else "")


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
    notes = ["Mean over seeds, ± standard deviation, in percent. Outlined: the best setting on validation."]
    if len({tuple(setting.values[i] for i in rest) for setting in results.settings}) > len(facets):
        others = ", ".join(results.keys[i] for i in rest)
        notes.append(f"A cell shows the best on validation of the settings that differ in {others}.")
    figures = []
    for name, settings in facets.items():
        for split, label in SPLITS:
            statistics: list[MeanStd] = [getattr(setting, split) for setting in results.settings]
            low, high, legend = _color_range([each.mean for each in statistics if each])
            chart = legend + _heatmap(results, settings, a, b, split, (low, high))
            figures.append(Figure(f"top-1, {label}{f', {name}' if name else ''}", chart))
    sizes = [len({setting.values[i] for setting in results.settings}) for i in (a, b)]
    return Maps(figures, notes, wide=min(max(sizes), 2 * min(sizes)) > 6)


def _heatmap(
    results: SweepResults, settings: list[Setting], a: int, b: int, split: str, color_range: tuple[float, float]
) -> Markup:  # fmt: skip
    columns = ordered(setting.values[a] for setting in results.settings)
    rows = ordered(setting.values[b] for setting in results.settings)
    if len(columns) > 2 * len(rows):  # the longer key goes down, where a page has room
        columns, rows, a, b = rows, columns, b, a
    by_position: dict[tuple[str | None, str | None], Setting] = {}
    for setting in settings:  # the best on validation comes first
        by_position.setdefault((setting.values[b], setting.values[a]), setting)

    def cell(row: str | None, column: str | None) -> Cell | None:
        setting = by_position.get((row, column))
        if setting is None:
            return None
        statistics: MeanStd = getattr(setting, split)
        if not statistics:
            state = setting.jobs[0].job.state.value
            return Cell(math.nan, state, "", f"{results.describe(setting.values)}: {state}")
        note = "" if statistics.std is None else f"± {100 * statistics.std:.2f}"
        tooltip = f"{_tooltip(results, setting)}, {statistics.n} seed{'s' if statistics.n != 1 else ''}"
        return Cell(statistics.mean, f"{100 * statistics.mean:.2f}", note, tooltip, setting == results.best)

    table = [[cell(row, column) for column in columns] for row in rows]
    row_names, column_names = list(map(display, rows)), list(map(display, columns))
    return heatmap_table(table, row_names, column_names, results.keys[b], results.keys[a], color_range)


def _tooltip(results: SweepResults, setting: Setting) -> str:
    return f"{results.describe(setting.values)}: test {setting.test}, validation {setting.val}"


def _scatter(results: SweepResults, a: int, b: int) -> Maps:
    settings = [setting for setting in results.settings if setting.val and setting.test]
    xs, ys = ([number(setting.values[i]) or 0.0 for setting in settings] for i in (a, b))
    x_axis, y_axis = Axis.of(xs, results.keys[a]), Axis.of(ys, results.keys[b])
    figures = []
    for split, label in SPLITS:
        values = [getattr(setting, split).mean for setting in settings]
        low, high, legend = _color_range(values)
        shares = [(value - low) / (high - low) if high > low else 0.6 for value in values]
        points = [
            Dot(x, y, viridis(share)[0], _tooltip(results, setting), setting == results.best)
            for setting, x, y, share in zip(settings, xs, ys, shares, strict=True)
        ]
        chart = dot_plot(points[::-1], f"{results.keys[a]} and {results.keys[b]}", x_axis, y_axis)
        figures.append(Figure(f"top-1, {label}", legend + chart))
    return Maps(figures, ["A point is a setting; the better on validation lie on top, the best one is outlined."])
