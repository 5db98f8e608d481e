"""What a sweep's students are compared with: their teachers, and the same student trained alone."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from distill.config.key_sets import NOT_THE_STUDENTS
from distill.config.schema import leaves
from distill.sweeps.report.mean_std import MeanStd
from distill.sweeps.report.results import JobResult, Setting, SweepResults, read
from distill.training.flows import used_flows
from distill.training.summary import RunSummary
from distill.utils.errors import UserError

# Losses that are part of L_soft: with kd.alpha=1 they weigh nothing (tests/evaluation compares this with Term.soft).
SOFT = {f"distill.losses.{name}" for name in ("KD", "DKD", "DIST", "NKD", "TTM", "WTTM", "MLKD", "TfKD", "OutputMSE",
                                          "ReverseKL", "JSD", "SkewKL", "TVD", "logit_mse_loss",
                                          "MarginMSE", "CWD")}  # fmt: skip


def is_baseline(summary: RunSummary) -> bool:
    """Whether a run's student learnt from labels alone: ``kd=none``, or ``kd.alpha=1`` with soft terms only.

    Either way its gradients are those of the cross-entropy, and it starts from the same weights.
    """
    kd = summary.kd
    if summary.student is None or kd.student_wrapper or any(flow.trains_students for flow in used_flows(kd)):
        return False
    if any(term.pretraining for term in kd.terms.values()):
        return False
    targets = {term.loss.get("_target_") for term in kd.terms.values()}
    return not kd.terms or (kd.alpha == 1 and targets <= SOFT)


def _recipe(job: JobResult) -> dict[str, str]:
    """Every key of the configuration that shapes the student, apart from its teacher and its losses."""
    if job.summary is None:
        return {}
    flat = leaves({key: value for key, value in job.summary.config.items() if key not in ("kd", "teacher")})
    return {key: json.dumps(value, sort_keys=True) for key, value in flat if not key.startswith(NOT_THE_STUDENTS)}


@dataclass(frozen=True)
class Baseline:
    """Runs of the same student trained alone, by one recipe."""

    recipe: dict[str, str]
    jobs: list[JobResult] = field(default_factory=list)

    def _over_seeds(self, split: str) -> MeanStd:
        """Runs of one seed that differ in what has no effect (T, where α is 1) count once."""
        by_seed: dict[str, list[float]] = {}
        for job in self.jobs:
            by_seed.setdefault(job.seed, []).append(getattr(job, split))
        return MeanStd.of((MeanStd.of(values).mean for values in by_seed.values()), self.jobs[0].metric)

    @property
    def val(self) -> MeanStd:
        return self._over_seeds("val")

    @property
    def test(self) -> MeanStd:
        return self._over_seeds("test")


class References:
    """The teachers and the baselines of a sweep.

    Args:
        results: the sweep.
        baseline: a run's or a sweep's folder with the student alone; None: the sweep's own runs of that kind.

    Attributes:
        teachers: by name, their score on the test split.
        teachers_val: likewise on validation.
        baselines: by recipe (as JSON).
        external: whether they come from ``baseline``.
        warnings: what makes the comparison less than fair, a line each.

    Raises:
        UserError: the baseline is none, is not alone, or is of other data.
    """

    def __init__(self, results: SweepResults, baseline: Path | None = None) -> None:
        self.warnings: list[str] = []
        self.external = baseline is not None
        finished = results.finished
        self.teachers, self.teachers_val = _teachers(finished, "test"), _teachers(finished, "val")
        alone = _read_baseline(baseline) if baseline else [j for j in finished if j.summary and is_baseline(j.summary)]
        self.baselines: dict[str, Baseline] = {}
        for job in alone:
            recipe = _recipe(job)
            self.baselines.setdefault(json.dumps(recipe, sort_keys=True), Baseline(recipe)).jobs.append(job)
        data = _fingerprints(finished)
        if len(data) > 1:
            self.warnings.append("the jobs differ in their data: their accuracies are not comparable")
        if baseline and data:
            if not _fingerprints(alone) <= data:
                raise UserError(f"baseline: {baseline} was trained on other data than the sweep")
            self._compare_recipes(baseline, _recipe(finished[0]))

    def _compare_recipes(self, folder: Path, recipe: dict[str, str]) -> None:
        """A warning where the only baseline has another recipe than the sweep."""
        if self.only_baseline is None or json.dumps(recipe, sort_keys=True) in self.baselines:
            return
        other = self.only_baseline.recipe
        keys = [key for key in sorted({*recipe, *other}) if recipe.get(key) != other.get(key)]
        differences = ", ".join(f"{key} ({other.get(key)} there, {recipe.get(key)} here)" for key in keys[:3])
        self.warnings.append(f"the baseline {folder} differs from the sweep's students in {differences}")

    def baseline(self, setting: Setting) -> Baseline | None:
        """The student alone of a setting's recipe."""
        if not setting.finished:
            return None
        key = json.dumps(_recipe(setting.finished[0]), sort_keys=True)
        return self.baselines.get(key, self.only_baseline if self.external else None)

    def is_own_baseline(self, setting: Setting) -> bool:
        """Whether a setting is the student alone, among the sweep's own runs."""
        summary = setting.finished[0].summary if setting.finished else None
        return summary is not None and is_baseline(summary) and not self.external

    @property
    def only_baseline(self) -> Baseline | None:
        """None where there are several."""
        return next(iter(self.baselines.values())) if len(self.baselines) == 1 else None

    def teacher(self, setting: Setting) -> float | None:
        """Score of a setting's teacher on the test split; of the sweep's only one where the setting has none."""
        teachers = _teachers(setting.finished, "test") or (self.teachers if len(self.teachers) == 1 else {})
        return next(iter(teachers.values())) if len(teachers) == 1 else None


def _fingerprints(jobs: list[JobResult]) -> set[str]:
    return {job.summary.data.fingerprint for job in jobs if job.summary}


def _teachers(jobs: list[JobResult], split: str) -> dict[str, float]:
    """The scores of the students' teachers by name; two of one name are told apart by number."""
    scores: dict[tuple[str, float], list[float]] = {}
    for summary in (job.summary for job in jobs):
        if summary and summary.student and summary.teacher:
            score = getattr(summary.teacher, split)[summary.task.score]
            scores.setdefault((summary.teacher.name, round(score, 3)), []).append(score)
    names = [name for name, _ in scores]
    means: dict[str, float] = {}
    for (name, _), values in scores.items():
        label = name if names.count(name) == 1 else f"{name} {len([n for n in means if n.split()[0] == name]) + 1}"
        means[label] = MeanStd.of(values).mean
    return means


def _read_baseline(folder: Path) -> list[JobResult]:
    """The finished runs of the student alone in a folder."""
    try:
        finished = [(job, job.summary) for job in read(folder).finished if job.summary]
    except UserError as error:
        raise UserError(f"baseline: {error}") from error
    if not finished:
        raise UserError(f"baseline: {folder} holds no finished run")
    alone = [job for job, summary in finished if is_baseline(summary)]
    if not alone:
        terms = ", ".join(finished[0][1].kd.terms)
        raise UserError(f"baseline: no student of {folder} was trained alone (kd=none): its loss has {terms or 'none'}")
    return alone
