"""Charts of a sweep: what each key does, and how the students learnt."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from distill.answer.findings import SEED, Findings, Outcome, Setting
from distill.answer.references import References
from distill.answer.spread import Spread, number, ordered, shown
from distill.evaluation.curves import Curve, curves
from distill.report import Axis, Dot, Figure, Level, Line, Mean, dots, legend, lines, robust, shares
from distill.sweeps.jobs import State
from distill.units import percent

NAMED = 16  # values of a key up to which each gets a place of its own
DRAWN = 60  # settings of which a curve is drawn
COLOURED = 8  # values of a key that get a curve of their own colour


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
    low, high = robust([outcome.test for outcome in finished])
    reach = 2 * (high - low) or 0.05  # levels further away would press the runs together
    beside = [level for level in levels(references) if low - reach <= level.value <= high + reach]
    y = shares(min([low, *(level.value for level in beside)]), max([high, *(level.value for level in beside)]))
    found = []
    for i, key in [*enumerate(findings.keys), (-1, SEED)]:
        values = [outcome.seed if i < 0 else outcome.values[i] for outcome in finished]
        if len(set(values)) > 1:
            found.append(_effect(key, values, finished, findings, y, beside))
    drawn = [
        (f"{level.name} {percent(level.value)}{'' if level in beside else ', beyond the axis'}", level.tone, "dashed")
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
        return Figure(key, note + dots(points, f"accuracy over {key}", Axis.of(places), y, levels=beside))
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
    axis = Axis.named([shown(each) for each in distinct])
    return Figure(key, note + dots(points, f"accuracy by {key}", axis, y, means, beside, joined))


def _aside(n: int) -> float:
    """So that runs of one value and one accuracy do not hide each other: a fixed sequence between −0.25 and 0.25."""
    return 0.5 * ((n * 0.6180339887) % 1) - 0.25


def _mean(several: Sequence[Curve]) -> Curve:
    """The mean of curves at the epochs that all of them have."""
    points: dict[float, list[float]] = {}
    for curve in several:
        for epoch, value in curve:
            points.setdefault(epoch, []).append(value)
    return [(epoch, sum(v) / len(v)) for epoch, v in sorted(points.items()) if len(v) == len(several)]


def learning(findings: Findings, references: References) -> tuple[list[Figure], Markup]:
    """Validation accuracy over the epochs: every setting, and the mean of the runs by value of each key."""
    begun = [o for o in findings.outcomes if o.job.state in (State.finished, State.pruned, State.running)]
    kept = {o.name: curve for o in begun if (curve := curves(o.job.folder, ("val/acc",)).get("acc", {}).get("val"))}
    if not kept:
        return [], Markup("")
    alone = references.line
    own = [curves(o.job.folder, ("val/acc",)).get("acc", {}).get("val", []) for o in alone.outcomes] if alone else []
    beside = [Line("student alone", _mean([curve for curve in own if curve]), "alone", dashed=True)] if any(own) else []
    last = max(curve[-1][0] for curve in kept.values())
    names = [(level.name, level.value) for level in levels(references, "val") if level.tone == "teacher"]
    beside += [Line(name, [(1.0, value), (last, value)], "teacher", True, True) for name, value in names]

    by_setting = [(s, _of([o for o in s.outcomes if o.name in kept], kept)) for s in findings.settings]
    drawn = [pair for pair in by_setting if pair[1]]
    every = max(1, math.ceil(len(drawn) / DRAWN))
    many = [Line(findings.said(s), curve, _tone(s), thin=True) for s, curve in drawn[::every]][::-1]
    best = [Line("best on validation", curve, "student") for s, curve in drawn if s == findings.best]
    said = f"every {every}th of {len(drawn)} settings" if every > 1 else f"{len(drawn)} settings"
    floor = _floor([curve for _, curve in drawn])
    found = [
        Figure(
            f"{said}, mean over seeds", lines([*many, *beside, *best], "validation accuracy", share=True, floor=floor)
        )
    ]
    for i, key in enumerate(findings.keys):
        chart = _by_value(i, key, findings, kept, beside, floor)
        found += [chart] if chart else []
    entries = [("best on validation", "student", ""), ("other settings", "k9", "")]
    entries += [("pruned", "bad", "")] if findings.count(State.pruned) else []
    return found, legend([*entries, *((line.name, line.tone, "dashed") for line in beside)])


def _tone(setting: Setting) -> str:
    return "bad" if all(outcome.job.state == State.pruned for outcome in setting.outcomes) else "k9"


def _of(outcomes: Sequence[Outcome], kept: dict[str, Curve]) -> Curve:
    """The mean curve of the finished ones; of the others where none has finished."""
    done = [kept[o.name] for o in outcomes if o.finished]
    return _mean(done or [kept[o.name] for o in outcomes])


def _floor(several: Sequence[Curve]) -> float | None:
    """Where a chart of curves may begin so that their ends can be told apart."""
    values = [value for curve in several for _, value in curve]
    low, _ = robust(values, 3.0)
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
        [*series, *(line for line in beside if line.tone == "teacher")], f"curves by {key}", share=True, floor=floor
    )
    return Figure(f"by {key}", names + chart)
