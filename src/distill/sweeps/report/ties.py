"""Which settings of a sweep cannot be told from its best one."""

import math
from dataclasses import dataclass

from distill.sweeps.report.references import References
from distill.sweeps.report.results import Setting, SweepResults

MOST_SEEDS = 30  # that are advised


def distinct(results: SweepResults, references: References) -> list[Setting]:
    """The settings without repetitions of the student alone: where α is 1, T and the terms have no effect."""
    shown: list[Setting] = []
    alone: list[object] = []
    for setting in results.settings:
        if references.is_own_baseline(setting):
            baseline = references.baseline(setting)
            if any(baseline is other for other in alone):
                continue
            alone.append(baseline)
        shown.append(setting)
    return shown


@dataclass(frozen=True)
class Ties:
    """The settings within one standard error of the best one on validation.

    Attributes:
        tied: the best, and those that are tied with it.
        settings: how many were compared.
        error: one standard error of the best's score: of accuracy √(p(1 − p) / n + s² / k) with n samples and k seeds
            whose standard deviation is s, p drawn towards ½ by one right and one wrong answer; of another score the
            part of the seeds alone, √(s² / k).
        images: n.
        gap: how far the second lies behind the best.

    Source: the one-standard-error rule, Breiman et al., "Classification and Regression Trees", 1984.
    """

    tied: list[Setting]
    settings: int
    error: float
    images: int
    gap: float

    @property
    def best(self) -> Setting:
        return self.tied[0]

    def __str__(self) -> str:
        if len(self.tied) == 1:
            return ""
        others, metric = len(self.tied) - 1, self.best.metric
        error = f"{metric.number(self.error)}{' points' if metric.unit == 'share' else ''}"
        if metric.name == "acc":
            error += f"; one of the {self.images} validation samples is worth {100 / self.images:.2f}"
        return (
            f"{others} of the other {self.settings - 1} setting{'s' if self.settings > 2 else ''} "
            f"{'is' if others == 1 else 'are'} tied with it: within one standard error ({error}); {self._advice()}"
        )

    def _advice(self) -> str:
        std, seeds = self.best.val.std, self.best.val.n
        if std is None:
            return "more seeds would show their spread, as seed=0,1,2"
        needed = math.ceil(8 * std**2 / self.gap**2) if self.gap > 0 else MOST_SEEDS + 1  # 2 errors of a difference
        if seeds < needed <= MOST_SEEDS:
            return f"about {needed} seeds would tell the first two apart"
        return "more validation samples would tell more than more seeds"


def _is_better(setting: Setting, best: Setting) -> bool:
    """Whether a setting with fewer seeds has a better score than the best of those with enough."""
    return setting.metric.is_better(setting.val.mean, best.val.mean)


def ties(results: SweepResults, references: References) -> Ties | None:
    """The settings that are tied; None before the first has finished."""
    best = results.best
    scored = [setting for setting in distinct(results, references) if setting.val]
    if best is None or (summary := best.finished[0].summary) is None:
        return None
    images, val = summary.data.val, best.val
    share = (val.mean * images + 1) / (images + 2)
    counted = share * (1 - share) / images if best.metric.name == "acc" else 0.0
    error = math.sqrt(counted + (val.std or 0.0) ** 2 / val.n)
    others = [setting for setting in scored if setting is not best]
    near = [setting for setting in others if abs(val.mean - setting.val.mean) <= error or _is_better(setting, best)]
    gap = min((abs(val.mean - setting.val.mean) for setting in others), default=math.inf)
    return Ties([best, *near], len(scored), error, images, gap)
