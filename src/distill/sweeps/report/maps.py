"""Two swept keys against each other: as cells where they form a grid, as points where they do not."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from markupsafe import Markup

from distill.evaluation.reporting.charts import (
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
from distill.sweeps.report.findings import Findings, Setting
from distill.sweeps.report.spread import Spread, number, ordered, shown
from distill.utils.units import percent

FIRST = ("kd.T", "kd.alpha")  # shown against each other where both were swept
MOST, FACETS = 24, 6  # values of a key, and combinations of further keys, that are still cells and maps of their own


@dataclass(frozen=True)
class Maps:
    """The maps of a sweep.

    Attributes:
        figures: test and validation in turn.
        notes: what a reader must know, a sentence each.
        wide: whether one is too wide to stand beside another.
    """

    figures: list[Figure]
    notes: list[str]
    wide: bool = False


def _pair(findings: Findings) -> tuple[int, int, bool] | None:
    """Which two keys, and whether they form a grid: at least a third of their combinations were run."""
    keys, settings = findings.keys, [setting for setting in findings.settings if setting.val]
    varied = [i for i in range(len(keys)) if len({setting.values[i] for setting in settings}) > 1]
    pairs = sorted(combinations(varied, 2), key=lambda pair: [keys[i] not in FIRST for i in pair])
    for a, b in pairs:
        sizes = [len({setting.values[i] for setting in settings}) for i in (a, b)]
        if max(sizes) <= MOST and 3 * len({(s.values[a], s.values[b]) for s in settings}) >= sizes[0] * sizes[1]:
            return a, b, True
    numeric = [i for i in varied if all(number(setting.values[i]) is not None for setting in settings)]
    return next(((a, b, False) for a, b in combinations(numeric, 2)), None)


def maps(findings: Findings) -> Maps | None:
    """The maps; None where no two keys were swept that can be shown against each other."""
    pair = _pair(findings)
    if pair is None:
        return None
    a, b, grid = pair
    return _cells(findings, a, b) if grid else _scatter(findings, a, b)


def _ends(values: Sequence[float]) -> tuple[float, float, Markup]:
    """The ends of the colours, and what the colours mean."""
    low, high = robust_range(values)
    below = sum(value < low - 1e-8 for value in values)
    return low, high, color_bar(percent(low), percent(high), f"({below} lower)" if below else "")


def _facets(findings: Findings, rest: Sequence[int]) -> dict[str, list[Setting]]:
    """The settings by the values of all other keys; all together where these are too many."""
    facets: dict[tuple[str | None, ...], list[Setting]] = {}
    for setting in findings.settings:
        facets.setdefault(tuple(setting.values[i] for i in rest), []).append(setting)
    if len(facets) > FACETS:
        return {"": findings.settings}
    order = [ordered(setting.values[i] for setting in findings.settings) for i in rest]
    varied = [j for j, values in enumerate(order) if len(values) > 1]
    places = sorted(facets, key=lambda facet: [order[j].index(value) for j, value in enumerate(facet)])
    return {" ".join(f"{findings.keys[rest[j]]}={shown(f[j])}" for j in varied): facets[f] for f in places}


def _cells(findings: Findings, a: int, b: int) -> Maps:
    rest = [i for i in range(len(findings.keys)) if i not in (a, b)]
    facets = _facets(findings, rest)
    notes = ["Mean over seeds, ± standard deviation, in percent. Outlined: the best setting on validation."]
    if len({tuple(setting.values[i] for i in rest) for setting in findings.settings}) > len(facets):
        others = ", ".join(findings.keys[i] for i in rest)
        notes.append(f"A cell shows the best on validation of the settings that differ in {others}.")
    figures = []
    spreads = {
        name: [spread.mean for setting in findings.settings if (spread := getattr(setting, name))]
        for name in ("test", "val")
    }
    for name, inside in facets.items():
        for split, said in (("test", "test"), ("val", "validation")):
            low, high, legend = _ends(spreads[split])
            chart = legend + _map(findings, inside, a, b, split, (low, high))
            figures.append(Figure(f"top-1, {said}{f', {name}' if name else ''}", chart))
    sizes = [len({setting.values[i] for setting in findings.settings}) for i in (a, b)]
    return Maps(figures, notes, wide=min(max(sizes), 2 * min(sizes)) > 6)


def _map(
    findings: Findings, settings: list[Setting], a: int, b: int, split: str, ends: tuple[float, float]
) -> Markup:  # fmt: skip
    columns = ordered(setting.values[a] for setting in findings.settings)
    rows = ordered(setting.values[b] for setting in findings.settings)
    if len(columns) > 2 * len(rows):  # the longer key goes down, where a page has room
        columns, rows, a, b = rows, columns, b, a
    by_place: dict[tuple[str | None, str | None], Setting] = {}
    for setting in settings:  # the best on validation comes first
        by_place.setdefault((setting.values[b], setting.values[a]), setting)

    def cell(row: str | None, column: str | None) -> Cell | None:
        setting = by_place.get((row, column))
        if setting is None:
            return None
        spread: Spread = getattr(setting, split)
        if not spread:
            state = setting.outcomes[0].job.state.value
            return Cell(math.nan, state, "", f"{findings.said(setting)}: {state}")
        note = "" if spread.std is None else f"± {100 * spread.std:.2f}"
        seeds = f"{spread.n} seed{'s' if spread.n != 1 else ''}"
        said = f"{findings.said(setting)}: test {setting.test}, validation {setting.val}, {seeds}"
        return Cell(spread.mean, f"{100 * spread.mean:.2f}", note, said, setting == findings.best)

    table = [[cell(row, column) for column in columns] for row in rows]
    keys = findings.keys
    return heatmap_table(table, list(map(shown, rows)), list(map(shown, columns)), keys[b], keys[a], ends)


def _scatter(findings: Findings, a: int, b: int) -> Maps:
    settings = [setting for setting in findings.settings if setting.val and setting.test]
    places = [(number(setting.values[a]) or 0.0, number(setting.values[b]) or 0.0) for setting in settings]
    x = Axis.of([place[0] for place in places], findings.keys[a])
    y = Axis.of([place[1] for place in places], findings.keys[b])
    figures = []
    for split, what in (("test", "test"), ("val", "validation")):
        values = [getattr(setting, split).mean for setting in settings]
        low, high, legend = _ends(values)
        points = [
            Dot(
                *place,
                viridis((value - low) / (high - low) if high > low else 0.6)[0],
                f"{findings.said(setting)}: test {setting.test}, validation {setting.val}",
                setting == findings.best,
            )
            for setting, place, value in zip(settings, places, values, strict=True)
        ]
        chart = dot_plot(points[::-1], f"{findings.keys[a]} and {findings.keys[b]}", x, y)
        figures.append(Figure(f"top-1, {what}", legend + chart))
    return Maps(figures, ["A point is a setting; the better on validation lie on top, the best one is outlined."])
