"""What a sweep's students are shown beside: their teachers, and the same student trained alone."""

import json
from dataclasses import dataclass
from pathlib import Path

from distill.config.key_sets import NOT_THE_STUDENTS
from distill.config.schema import leaves
from distill.sweeps.report.findings import Findings, Outcome, Setting, read
from distill.sweeps.report.spread import Spread
from distill.training.summary import RunSummary
from distill.utils.errors import UserError

# Losses that are part of L_soft: with kd.alpha=1 they weigh nothing (tests/evaluation compares this with Term.soft).
SOFT = {f"distill.losses.{name}" for name in ("KD", "DKD", "DIST", "NKD", "TTM", "WTTM", "MLKD", "TfKD")}


def is_baseline(summary: RunSummary) -> bool:
    """Whether a run's student learnt from labels alone: ``kd=none``, or ``kd.alpha=1`` with soft terms only.

    Either way its gradients are those of the cross-entropy, and it starts from the same weights.
    """
    kd = summary.config.get("kd") or {}
    if summary.student is None or any(kd.get(key) for key in ("assistants", "peers", "student_wrapper")):
        return False
    if (kd.get("generations") or 1) != 1:
        return False
    terms = kd.get("terms") or {}
    if any(term.get("pretraining") for term in terms.values()):
        return False
    targets = {(term.get("loss") or {}).get("_target_") for term in terms.values()}
    return not terms or (kd.get("alpha") in (1, 1.0) and targets <= SOFT)


def recipe(summary: RunSummary) -> dict[str, str]:
    """All that shapes the student apart from what it is taught by, flat."""
    flat = leaves({key: value for key, value in summary.config.items() if key not in ("kd", "teacher")})
    return {key: json.dumps(value, sort_keys=True) for key, value in flat if not key.startswith(NOT_THE_STUDENTS)}


@dataclass(frozen=True)
class Baseline:
    """The same student trained alone.

    Attributes:
        outcomes: its runs.
        recipe: theirs.
    """

    outcomes: list[Outcome]
    recipe: dict[str, str]

    def _by_seed(self, name: str) -> Spread:
        """Runs of one seed that differ in what does not act (T, where α is 1) count once."""
        seeds: dict[str, list[float]] = {}
        for outcome in self.outcomes:
            seeds.setdefault(outcome.seed, []).append(getattr(outcome, name))
        return Spread.of(Spread.of(values).mean for values in seeds.values())

    @property
    def val(self) -> Spread:
        """Top-1 on validation over seeds."""
        return self._by_seed("val")

    @property
    def test(self) -> Spread:
        """Top-1 on the test split over seeds."""
        return self._by_seed("test")


class References:
    """The teachers and the students alone of a sweep.

    Args:
        findings: the sweep.
        baseline: a run's or a sweep's folder with the student alone; None: the sweep's own such points.

    Attributes:
        teachers: by name, their top-1 on the test split.
        teachers_val: likewise on validation.
        groups: the students alone by recipe.
        given: whether they come from ``baseline``.
        warnings: what makes the comparison less than fair, a line each.

    Raises:
        UserError: the baseline is none, is not alone, or is of other data.
    """

    def __init__(self, findings: Findings, baseline: Path | None = None) -> None:
        self.warnings: list[str] = []
        self.given = baseline is not None
        finished = [outcome for outcome in findings.outcomes if outcome.finished]
        self.teachers, self.teachers_val = _teachers(finished, "test"), _teachers(finished, "val")
        baselines = _baseline(baseline) if baseline else [o for o in finished if o.summary and is_baseline(o.summary)]
        self.groups: dict[str, Baseline] = {}
        for outcome in baselines:
            shared = _recipe(outcome)
            self.groups.setdefault(json.dumps(shared, sort_keys=True), Baseline([], shared)).outcomes.append(outcome)
        data = _fingerprints(finished)
        if len(data) > 1:
            self.warnings.append("the jobs differ in their data: their accuracies are not comparable")
        if baseline and data:
            if not _fingerprints(baselines) <= data:
                raise UserError(f"baseline: {baseline} was trained on other data than the sweep")
            self._compare(baseline, finished[0])

    def _compare(self, baseline: Path, one: Outcome) -> None:
        """A warning where a single baseline stands for students of another recipe."""
        mine = _recipe(one)
        if len(self.groups) != 1 or json.dumps(mine, sort_keys=True) in self.groups:
            return
        other = next(iter(self.groups.values())).recipe
        apart = [key for key in sorted({*mine, *other}) if mine.get(key) != other.get(key)]
        said = ", ".join(f"{key} ({other.get(key)} there, {mine.get(key)} here)" for key in apart[:3])
        self.warnings.append(f"the baseline {baseline} differs from the sweep's students in {said}")

    def baseline(self, setting: Setting) -> Baseline | None:
        """The student alone that a setting is shown beside: the same but for what it was taught by."""
        if not setting.finished:
            return None
        key = json.dumps(_recipe(setting.finished[0]), sort_keys=True)
        only = next(iter(self.groups.values())) if self.given and len(self.groups) == 1 else None
        return self.groups.get(key, only)

    def is_baseline(self, setting: Setting) -> bool:
        """Whether a setting is the student alone itself."""
        summary = setting.finished[0].summary if setting.finished else None
        return summary is not None and is_baseline(summary)

    @property
    def line(self) -> Baseline | None:
        """The one that stands for all points of a chart, if there is just one."""
        return next(iter(self.groups.values())) if len(self.groups) == 1 else None

    def teacher(self, setting: Setting) -> float | None:
        """Top-1 of a setting's teacher on the test split; of the sweep's only one where the setting has none."""
        teachers = _teachers(setting.finished, "test") or (self.teachers if len(self.teachers) == 1 else {})
        return next(iter(teachers.values())) if len(teachers) == 1 else None


def _recipe(outcome: Outcome) -> dict[str, str]:
    return recipe(outcome.summary) if outcome.summary else {}


def _fingerprints(outcomes: list[Outcome]) -> set[str]:
    """Of the data that the runs saw."""
    return {outcome.summary.data.fingerprint for outcome in outcomes if outcome.summary}


def _teachers(outcomes: list[Outcome], split: str) -> dict[str, float]:
    """The teachers of students, by name; two of one name are told apart by number."""
    accuracies: dict[tuple[str, float], list[float]] = {}
    for summary in (outcome.summary for outcome in outcomes):
        if summary and summary.student and summary.teacher:
            accuracy = getattr(summary.teacher, split).acc
            accuracies.setdefault((summary.teacher.name, round(accuracy, 3)), []).append(accuracy)
    names = [name for name, _ in accuracies]
    means: dict[str, float] = {}
    for (name, _), values in accuracies.items():
        label = name if names.count(name) == 1 else f"{name} {len([n for n in means if n.split()[0] == name]) + 1}"
        means[label] = Spread.of(values).mean
    return means


def _baseline(folder: Path) -> list[Outcome]:
    """The finished runs of the student alone in a folder."""
    try:
        summaries = [(o, o.summary) for o in read(folder).outcomes if o.finished and o.summary]
    except UserError as error:
        raise UserError(f"baseline: {error}") from error
    if not summaries:
        raise UserError(f"baseline: {folder} holds no finished run")
    baselines = [outcome for outcome, summary in summaries if is_baseline(summary)]
    if not baselines:
        terms = ", ".join(summaries[0][1].config.get("kd", {}).get("terms") or {})
        raise UserError(f"baseline: no student of {folder} was trained alone (kd=none): its loss has {terms or 'none'}")
    return baselines
