"""How much each swept key matters: the loss of a random forest when its values are shuffled."""

import math
import statistics
from dataclasses import dataclass

from distill.evaluation.reporting.charts import Bar, bars, robust_range
from distill.evaluation.reporting.rendering import Figure
from distill.sweeps.report.mean_std import ordered
from distill.sweeps.report.parallel import varied_keys
from distill.sweeps.report.results import SweepResults

MIN_SETTINGS = 20
MAX_RUNS = 2000  # that a forest sees
SPLITS, HELD_OUT = 10, 0.2
ERRORS = 2  # standard errors above zero from which on a value counts


@dataclass(frozen=True)
class Estimate:
    """A mean over splits, and its standard error."""

    mean: float
    error: float

    @classmethod
    def of(cls, values: list[float]) -> "Estimate":
        """Splits share their runs: the variance counts 1/J + test/train times, not 1/J times.

        Source: Nadeau and Bengio, "Inference for the Generalization Error", 2003.
        """
        correction = 1 / len(values) + HELD_OUT / (1 - HELD_OUT)
        return cls(statistics.mean(values), math.sqrt(correction * statistics.variance(values)))

    @property
    def is_known(self) -> bool:
        """Whether it can be told from zero."""
        return self.mean > ERRORS * self.error

    def __str__(self) -> str:
        return f"{100 * self.mean:.1f} ± {100 * self.error:.1f} %"


@dataclass(frozen=True)
class Importance:
    """The importance of the keys for the score on test.

    Attributes:
        explained: 1 − mean squared error / variance of a forest's predictions for settings that it has not seen.
        by_key: half of what the mean squared error rises by when the key's values are shuffled among those runs, over
            the variance. Of keys drawn independently that is the key's total Sobol index: the share of the variance
            that it takes part in, alone or together with others. A sum over keys may exceed 1.

    Source: Breiman, "Random Forests", 2001; Jansen, "Analysis of variance designs for model output", 1999.
    """

    explained: Estimate
    by_key: dict[str, Estimate]


def importance(results: SweepResults) -> Importance | None:
    """By 10 forests, each without a fifth of the settings; None of fewer than 20 settings or equal scores."""
    keys = varied_keys(results)
    jobs = [job for job in results.finished if not math.isnan(job.test)]
    jobs = jobs[:: -(-len(jobs) // MAX_RUNS) or 1]
    groups = [job.values for job in jobs]
    if len(set(groups)) < MIN_SETTINGS or len({job.test for job in jobs}) == 1:
        return None
    import numpy as np
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import GroupShuffleSplit

    tests = [job.test for job in jobs]
    scores = np.clip(tests, *robust_range(tests, direction=results.metric.direction))  # one outlier would be everything
    orders = [{value: n for n, value in enumerate(ordered(job.values[i] for job in jobs))} for i in keys]
    values = np.array([[order[job.values[i]] for i, order in zip(keys, orders, strict=True)] for job in jobs])
    numbers = {setting: n for n, setting in enumerate(dict.fromkeys(groups))}
    explained, risen = [], []
    splits = GroupShuffleSplit(SPLITS, test_size=HELD_OUT, random_state=0)
    for train, test in splits.split(values, scores, [numbers[group] for group in groups]):
        forest = RandomForestRegressor(50, random_state=0).fit(values[train], scores[train])
        explained.append(float(1 - np.mean((forest.predict(values[test]) - scores[test]) ** 2) / scores.var()))
        shuffled = permutation_importance(
            forest, values[test], scores[test], scoring="neg_mean_squared_error", random_state=0
        )
        moved = 1 - 1 / len(test)  # a shuffled row keeps its own value once in so many times
        risen.append(shuffled.importances_mean / moved / 2 / scores.var())
    by_key = {results.keys[i]: Estimate.of([float(each[n]) for each in risen]) for n, i in enumerate(keys)}
    return Importance(Estimate.of(explained), by_key)


def importance_chart(results: SweepResults) -> tuple[Figure | None, str]:
    """The chart, and what it means; no chart where the runs do not tell."""
    found = importance(results)
    if found is None:
        few = f"fewer than {MIN_SETTINGS} settings have a score, or all have the same"
        return None, f"Which key matters most cannot be told: {few}."
    word = f"test {results.metric.word}"
    if not found.explained.is_known:
        explained = found.explained if found.explained.mean > 0 else "none"
        return None, (
            f"Which key matters most cannot be told: a random forest of the keys does not predict the {word} of "
            f"settings that it has not seen ({explained} of the variance explained). The runs are too few, or differ "
            "by chance."
        )
    ranked = sorted(found.by_key.items(), key=lambda pair: -pair[1].mean)
    rows = [Bar(k, max(each.mean, 0.0), str(each), "student" if each.is_known else "k9") for k, each in ranked]
    first, second = ranked[0][1], ranked[1][1]
    is_first = first.mean - second.mean > ERRORS * math.hypot(first.error, second.error)
    text = (
        f"Importance: the share of the variance of {word} that a key takes part in, alone or together with others, ± "
        f"one standard error. Measured by shuffling the key's values in {SPLITS} random forests, on settings that they "
        f"have not seen, of which they explain {found.explained} of the variance. Keys that always change together "
        "share what they do, and values that were not tried are not covered."
    )
    if not all(each.is_known for _, each in ranked):
        text += f" Grey bars, or none: within {ERRORS} standard errors of no effect."
    if not is_first:
        text += " Which of the first two keys matters more cannot be told."
    return Figure(f"importance for {word}", bars(rows, f"importance of the keys for {word}", 1.0)), text
