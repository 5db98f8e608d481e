"""What each swept key does to test accuracy."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from distill.evaluation.reporting.charts import (
    Axis,
    Dot,
    Figure,
    Level,
    Mean,
    dot_plot,
    legend,
    percent_axis,
    robust_range,
)
from distill.sweeps.report.findings import SEED, Findings, Outcome
from distill.sweeps.report.references import References
from distill.sweeps.report.spread import Spread, number, ordered, shown
from distill.utils.units import percent

NAMED = 16  # values of a key up to which each gets a place of its own


def levels(references: References, split: str = "test") -> list[Level]:
    """The teachers (three at most) and the student alone, to compare with."""
    teachers = references.teachers if split == "test" else references.teachers_val
    found = (
        [Level(f"teacher {name}", value, "teacher") for name, value in teachers.items()] if len(teachers) <= 3 else []
    )
    if references.line is not None:
        spread = references.line.test if split == "test" else references.line.val
        found += [Level("student alone", spread.mean, "alone")] if spread else []
    return found


def effects(findings: Findings, references: References) -> tuple[list[Figure], Markup]:
    """A chart per swept key, the seed's last: test accuracy of every run over the key's values; and their legend."""
    finished = [outcome for outcome in findings.outcomes if outcome.finished and not math.isnan(outcome.test)]
    low, high = robust_range([outcome.test for outcome in finished])
    reach = 2 * (high - low) or 0.05  # levels further away would press the runs together
    beside = [level for level in levels(references) if low - reach <= level.value <= high + reach]
    y = percent_axis(min([low, *(level.value for level in beside)]), max([high, *(level.value for level in beside)]))
    found = []
    for i, key in [*enumerate(findings.keys), (-1, SEED)]:
        values = [outcome.seed if i < 0 else outcome.values[i] for outcome in finished]
        if len(set(values)) > 1:
            found.append(_effect(key, values, finished, findings, y, beside))
    drawn = [
        (f"{level.name} {percent(level.value)}{'' if level in beside else ', beyond the axis'}", level.color, "dashed")
        for level in levels(references)
    ]
    return found, legend([("a run", "k9", "spot"), ("mean ± std of the runs with that value", "student", ""), *drawn])


def _effect(
    key: str, values: Sequence[str | None], finished: Sequence[Outcome], findings: Findings, y: Axis,
    beside: Sequence[Level],
) -> Figure:  # fmt: skip
    distinct = ordered(values)
    settings = {outcome.name: findings.said(setting) for setting in findings.settings for outcome in setting.outcomes}

    def said(outcome: Outcome) -> str:
        return f"job {outcome.name}, {settings[outcome.name]} seed={outcome.seed}: {percent(outcome.test)}"

    if len(distinct) > NAMED and None not in distinct and all(number(value) is not None for value in distinct):
        places = [number(value) or 0.0 for value in values]
        points = [Dot(x, o.test, "var(--student)", said(o)) for x, o in zip(places, finished, strict=True)]
        note = Markup('<p class="note">{} values from {} to {}</p>').format(
            len(distinct), shown(distinct[0]), shown(distinct[-1])
        )
        return Figure(key, note + dot_plot(points, f"accuracy over {key}", Axis.of(places), y, levels=beside))
    groups = [[o.test for o, value in zip(finished, values, strict=True) if value == each] for each in distinct]
    spreads = [Spread.of(group) for group in groups]
    means = [
        Mean(i, spread.mean, spread.std or 0.0, f"{key}={shown(each)}: {spread}, {spread.n} runs")
        for i, (each, spread) in enumerate(zip(distinct, spreads, strict=True))
    ]
    points = [
        Dot(distinct.index(value) + _aside(n), outcome.test, "var(--k9)", said(outcome))
        for n, (outcome, value) in enumerate(zip(finished, values, strict=True))
    ]
    apart = 100 * (max(spread.mean for spread in spreads) - min(spread.mean for spread in spreads))
    note = Markup('<p class="note">means up to {:.2f} points apart</p>').format(apart)
    joined = key != SEED and all(number(value) is not None for value in distinct)
    axis = Axis.categorical([shown(each) for each in distinct])
    return Figure(key, note + dot_plot(points, f"accuracy by {key}", axis, y, means, beside, joined))


def _aside(n: int) -> float:
    """So that runs of one value and one accuracy do not hide each other: a fixed sequence between −0.25 and 0.25."""
    return 0.5 * ((n * 0.6180339887) % 1) - 0.25
