"""The learning curves of a sweep's students."""

import math
from collections.abc import Sequence

from distill.evaluation.learning_curves import Curve, curves
from distill.evaluation.reporting.charts import Line, lines, robust_range
from distill.evaluation.reporting.rendering import Figure
from distill.sweeps.jobs import State
from distill.sweeps.report.effects import MAX_CATEGORIES, reference_levels
from distill.sweeps.report.mean_std import display, number, ordered
from distill.sweeps.report.references import References
from distill.sweeps.report.results import JobResult, Setting, SweepResults, query

MAX_SETTINGS = 60  # that have a curve
MAX_VALUES = 8  # of a key, that have a curve
Limits = dict[str, float]


def learning_curves(results: SweepResults, references: References) -> list[Figure]:
    """The score on validation over the epochs: every setting, and the mean of the runs by value of each key."""
    shown = (State.finished, State.pruned, State.running)
    by_job = {job.name: curve for job in results.jobs if job.job.state in shown and (curve := _curve(job))}
    if not by_job:
        return []
    reference_lines = _reference_lines(references, last=max(curve[-1][0] for curve in by_job.values()))
    scores = [value for curve in by_job.values() for _, value in curve]
    low, high = robust_range(scores, 3.0, results.metric.direction)
    limits: Limits = {}  # of the y axis, so that the ends of the curves can be told apart
    if low > min(scores):
        limits["floor"] = low
    if high < max(scores):
        limits["ceiling"] = high
    by_key = [_by_value(i, key, results, by_job, reference_lines, limits) for i, key in enumerate(results.keys)]
    return [_by_setting(results, by_job, reference_lines, limits), *(figure for figure in by_key if figure is not None)]


def _curve(job: JobResult) -> Curve:
    score = job.metric.name
    return curves(job.job.folder, (f"val/{score}",)).get(score, {}).get("val", [])


def _reference_lines(references: References, last: float) -> list[Line]:
    """The student alone, and the teachers up to the last epoch."""
    alone = references.only_baseline.jobs if references.only_baseline is not None else []
    mean = _mean([curve for job in alone if (curve := _curve(job))])
    teachers = [level for level in reference_levels(references, "val") if level.color == "teacher"]
    return [Line("student without distillation", mean, "alone", dashed=True)] * bool(mean) + [
        Line(level.name, [(1.0, level.value), (last, level.value)], "teacher", dashed=True, thin=True)
        for level in teachers
    ]


def _mean(several: Sequence[Curve]) -> Curve:
    """The mean of curves at the epochs that all of them have."""
    by_epoch: dict[float, list[float]] = {}
    for curve in several:
        for epoch, value in curve:
            by_epoch.setdefault(epoch, []).append(value)
    return [(epoch, sum(v) / len(v)) for epoch, v in sorted(by_epoch.items()) if len(v) == len(several)]


def _mean_of_setting(setting: Setting, by_job: dict[str, Curve]) -> Curve:
    """The mean curve of the finished jobs; of the others where none has finished."""
    jobs = [job for job in setting.jobs if job.name in by_job]
    return _mean([by_job[job.name] for job in [job for job in jobs if job.finished] or jobs])


def _by_setting(
    results: SweepResults, by_job: dict[str, Curve], reference_lines: Sequence[Line], limits: Limits
) -> Figure:
    """A pale line per setting, the best one on top."""
    means = [(setting, curve) for setting in results.settings if (curve := _mean_of_setting(setting, by_job))]
    step = max(1, math.ceil(len(means) / MAX_SETTINGS))
    pale = [
        Line(
            results.describe(setting.values), curve, "bad" if pruned else "k9", thin=True,
            link=results.query(setting.values),
        )
        for setting, curve in means[::step]
        for pruned in [all(job.job.state == State.pruned for job in setting.jobs)]
    ][::-1]  # fmt: skip
    best = [
        Line("best on validation", curve, "student", link=results.query(setting.values))
        for setting, curve in means
        if setting == results.best
    ]
    entries = [("best on validation", "student", "")] if best else []
    entries += [("other settings", "k9", "")] if len(means) > len(best) else []
    entries += [("pruned", "bad", "")] if any(line.color == "bad" for line in pale) else []
    entries += [(line.name, line.color, "dashed") for line in reference_lines]
    label, share = f"validation {results.metric.word}", results.metric.unit == "share"
    chart = lines([*pale, *reference_lines, *best], label, share=share, **limits)
    count = f"{len(pale)} of {len(means)}" if step > 1 else f"{len(means)}"
    return Figure(f"{count} setting{'s' if len(means) > 1 else ''}, mean over seeds", chart, legend=entries)


def _by_value(
    i: int, key: str, results: SweepResults, by_job: dict[str, Curve], reference_lines: Sequence[Line],
    limits: Limits,
) -> Figure | None:  # fmt: skip
    jobs = [job for job in results.finished if job.name in by_job]
    distinct = ordered(job.values[i] for job in jobs)
    numeric = all(number(value) is not None for value in distinct)
    if len(distinct) < 2 or (numeric and len(distinct) > MAX_CATEGORIES):
        return None
    values = distinct[:: math.ceil(len(distinct) / MAX_VALUES)]
    colors = [f"s{round(9 * n / max(len(values) - 1, 1))}" if numeric else f"k{n}" for n in range(len(values))]
    means = [_mean([by_job[job.name] for job in jobs if job.values[i] == value]) for value in values]
    names = [f"{key}={display(value)}" for value in values]
    links = [query(key, value) for value in values]
    series = [Line(*line[:3], link=line[3]) for line in zip(names, means, colors, links, strict=True)]
    entries = [(display(value), color, "") for value, color in zip(values, colors, strict=True)]
    teachers = [line for line in reference_lines if line.color == "teacher"]
    chart = lines([*series, *teachers], f"curves by {key}", share=results.metric.unit == "share", **limits)
    return Figure(f"by {key}", chart, legend=entries)
