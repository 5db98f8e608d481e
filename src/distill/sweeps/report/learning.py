"""How the students of a sweep learnt."""

import math
from collections.abc import Sequence

from distill.evaluation.learning_curves import Curve, curves
from distill.evaluation.reporting.charts import Figure, Line, legend, lines, robust_range
from distill.sweeps.jobs import State
from distill.sweeps.report.effects import NAMED, levels
from distill.sweeps.report.findings import Findings, Outcome, Setting
from distill.sweeps.report.references import References
from distill.sweeps.report.spread import number, ordered, shown

VAL = "val/acc"
DRAWN = 60  # settings of which a curve is drawn
COLOURED = 8  # values of a key that get a curve of their own colour


def learning(findings: Findings, references: References) -> list[Figure]:
    """Validation accuracy over the epochs: every setting, and the mean of the runs by value of each key."""
    begun = [o for o in findings.outcomes if o.job.state in (State.finished, State.pruned, State.running)]
    kept = {o.name: curve for o in begun if (curve := _curve(o))}
    if not kept:
        return []
    beside = _references(references, last=max(curve[-1][0] for curve in kept.values()))
    floor = _floor(list(kept.values()))
    by_key = [_by_value(i, key, findings, kept, beside, floor) for i, key in enumerate(findings.keys)]
    return [_by_setting(findings, kept, beside, floor), *(figure for figure in by_key if figure is not None)]


def _curve(outcome: Outcome) -> Curve:
    return curves(outcome.job.folder, (VAL,)).get("acc", {}).get("val", [])


def _references(references: References, last: float) -> list[Line]:
    """The student alone, and the teachers up to the last epoch."""
    alone = references.line.outcomes if references.line is not None else []
    mean = _mean([curve for outcome in alone if (curve := _curve(outcome))])
    found = [Line("student alone", mean, "alone", dashed=True)] if mean else []
    for level in levels(references, "val"):
        if level.color == "teacher":
            found.append(Line(level.name, [(1.0, level.value), (last, level.value)], "teacher", True, True))
    return found


def _by_setting(findings: Findings, kept: dict[str, Curve], beside: Sequence[Line], floor: float | None) -> Figure:
    """A pale line per setting, the best one on top."""
    means = [(setting, _of([o for o in setting.outcomes if o.name in kept], kept)) for setting in findings.settings]
    drawn = [(setting, curve) for setting, curve in means if curve]
    every = max(1, math.ceil(len(drawn) / DRAWN))
    many = [Line(findings.said(setting), curve, _tone(setting), thin=True) for setting, curve in drawn[::every]][::-1]
    best = [Line("best on validation", curve, "student") for setting, curve in drawn if setting == findings.best]
    entries = [("best on validation", "student", "")] if best else []
    entries += [("other settings", "k9", "")] if len(drawn) > len(best) else []
    entries += [("pruned", "bad", "")] if any(line.color == "bad" for line in many) else []
    names = legend([*entries, *((line.name, line.color, "dashed") for line in beside)])
    chart = lines([*many, *beside, *best], "validation accuracy", share=True, floor=floor)
    some = f"{len(many)} of {len(drawn)}" if every > 1 else f"{len(drawn)}"
    return Figure(f"{some} setting{'s' if len(drawn) > 1 else ''}, mean over seeds", names + chart)


def _mean(several: Sequence[Curve]) -> Curve:
    """The mean of curves at the epochs that all of them have."""
    points: dict[float, list[float]] = {}
    for curve in several:
        for epoch, value in curve:
            points.setdefault(epoch, []).append(value)
    return [(epoch, sum(v) / len(v)) for epoch, v in sorted(points.items()) if len(v) == len(several)]


def _tone(setting: Setting) -> str:
    return "bad" if all(outcome.job.state == State.pruned for outcome in setting.outcomes) else "k9"


def _of(outcomes: Sequence[Outcome], kept: dict[str, Curve]) -> Curve:
    """The mean curve of the finished ones; of the others where none has finished."""
    done = [kept[o.name] for o in outcomes if o.finished]
    return _mean(done or [kept[o.name] for o in outcomes])


def _floor(several: Sequence[Curve]) -> float | None:
    """Where a chart of curves may begin so that their ends can be told apart."""
    values = [value for curve in several for _, value in curve]
    low, _ = robust_range(values, 3.0)
    return low if values and low > min(values) else None


def _by_value(
    i: int, key: str, findings: Findings, kept: dict[str, Curve], beside: Sequence[Line], floor: float | None
) -> Figure | None:  # fmt: skip
    finished = [outcome for outcome in findings.outcomes if outcome.finished and outcome.name in kept]
    distinct = ordered(outcome.values[i] for outcome in finished)
    numeric = all(number(value) is not None for value in distinct)
    if len(distinct) < 2 or (numeric and len(distinct) > NAMED):
        return None
    every = max(1, math.ceil(len(distinct) / COLOURED))
    chosen = distinct[::every]
    tones = [f"s{round(9 * n / max(len(chosen) - 1, 1))}" if numeric else f"k{n}" for n in range(len(chosen))]
    series = [
        Line(f"{key}={shown(value)}", _mean([kept[o.name] for o in finished if o.values[i] == value]), tone)
        for value, tone in zip(chosen, tones, strict=True)
    ]
    names = legend([(shown(value), tone, "") for value, tone in zip(chosen, tones, strict=True)])
    chart = lines(
        [*series, *(line for line in beside if line.color == "teacher")], f"curves by {key}", share=True, floor=floor
    )
    return Figure(f"by {key}", names + chart)
