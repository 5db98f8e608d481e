"""Test accuracy over the values of each swept key."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from distill.evaluation.reporting.charts import (  # fmt: skip
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
from distill.sweeps.report.mean_std import MeanStd, display, number, ordered
from distill.sweeps.report.references import References
from distill.sweeps.report.results import SEED, JobResult, SweepResults
from distill.utils.units import percent

MAX_CATEGORIES = 16  # distinct numbers of a key up to which the axis is categorical


def reference_levels(references: References, split: str = "test") -> list[Level]:
    """The teachers (where they are at most three) and the student alone."""
    teachers = references.teachers if split == "test" else references.teachers_val
    levels = [Level(f"teacher {name}", accuracy, "teacher") for name, accuracy in teachers.items()]
    levels = levels if len(levels) <= 3 else []
    if references.only_baseline is not None and (alone := getattr(references.only_baseline, split)):
        levels.append(Level("student alone", alone.mean, "alone"))
    return levels


def effects(results: SweepResults, references: References) -> tuple[list[Figure], Markup]:
    """A chart per swept key, the seed's last: test accuracy of every run over the key's values; and their legend."""
    jobs = [job for job in results.finished if not math.isnan(job.test)]
    low, high = robust_range([job.test for job in jobs])
    margin = 2 * (high - low) or 0.05  # levels further away would compress the runs
    levels = reference_levels(references)
    visible = [level for level in levels if low - margin <= level.value <= high + margin]
    bounds = [low, high, *(level.value for level in visible)]
    y_axis = percent_axis(min(bounds), max(bounds))
    figures = []
    for i, key in [*enumerate(results.keys), (-1, SEED)]:
        values = [job.seed if i < 0 else job.values[i] for job in jobs]
        if len(set(values)) > 1:
            figures.append(_effect(key, values, jobs, results, y_axis, visible))
    reference_entries = [
        (f"{level.name} {percent(level.value)}{'' if level in visible else ', beyond the axis'}", level.color, "dashed")
        for level in levels
    ]
    entries = [("a run", "k9", "spot"), ("mean ± std of the runs with that value", "student", ""), *reference_entries]
    return figures, legend(entries)


def _effect(
    key: str, values: Sequence[str | None], jobs: Sequence[JobResult], results: SweepResults, y_axis: Axis,
    levels: Sequence[Level],
) -> Figure:  # fmt: skip
    distinct = ordered(values)
    numeric = all(number(value) is not None for value in distinct)
    tooltips = [
        f"job {job.name}, {results.describe(job.values)} seed={job.seed}: {percent(job.test)}" for job in jobs
    ]  # fmt: skip
    if len(distinct) > MAX_CATEGORIES and numeric:
        xs = [number(value) or 0.0 for value in values]
        points = [Dot(x, job.test, "var(--student)", text) for x, job, text in zip(xs, jobs, tooltips, strict=True)]
        note = Markup('<p class="note">{} values from {} to {}</p>').format(
            len(distinct), display(distinct[0]), display(distinct[-1])
        )
        return Figure(key, note + dot_plot(points, f"accuracy over {key}", Axis.of(xs), y_axis, levels=levels))
    statistics = [
        MeanStd.of(job.test for job, value in zip(jobs, values, strict=True) if value == each) for each in distinct
    ]
    means = [
        Mean(i, each.mean, each.std or 0.0, f"{key}={display(value)}: {each}, {each.n} runs")
        for i, (value, each) in enumerate(zip(distinct, statistics, strict=True))
    ]
    points = [
        Dot(distinct.index(value) + _jitter(n), job.test, "var(--k9)", text)
        for n, (job, value, text) in enumerate(zip(jobs, values, tooltips, strict=True))
    ]
    difference = 100 * (max(each.mean for each in statistics) - min(each.mean for each in statistics))
    note = Markup('<p class="note">means up to {:.2f} points apart</p>').format(difference)
    x_axis = Axis.categorical([display(value) for value in distinct])
    chart = dot_plot(points, f"accuracy by {key}", x_axis, y_axis, means, levels, join_means=key != SEED and numeric)
    return Figure(key, note + chart)


def _jitter(n: int) -> float:
    """A fixed sequence between −0.25 and 0.25 (golden ratio): runs of one value and one accuracy stay visible."""
    return 0.5 * ((n * 0.6180339887) % 1) - 0.25
