"""Mean and standard deviation over runs, and the values of swept keys for display."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import mean, stdev

from distill.tasks.info import CLASSIFICATION, Metric


@dataclass(frozen=True)
class MeanStd:
    """Mean and standard deviation of a metric over runs."""

    mean: float  # NaN of no runs
    std: float | None  # of the sample (n − 1); None of fewer than two
    n: int
    metric: Metric = field(default=CLASSIFICATION.chooses, compare=False)

    @classmethod
    def of(cls, values: Iterable[float], metric: Metric = CLASSIFICATION.chooses) -> "MeanStd":
        """Of those values that are not NaN."""
        known = [value for value in values if not math.isnan(value)]
        if not known:
            return cls(math.nan, None, 0, metric)
        return cls(mean(known), stdev(known) if len(known) > 1 else None, len(known), metric)

    def __bool__(self) -> bool:
        return self.n > 0

    def __str__(self) -> str:
        """As the metric shows its values, shares in percent.

        Example:
            >>> str(MeanStd.of([0.5, 0.7])), str(MeanStd.of([0.5, float("nan")])), str(MeanStd.of([]))
            ('60.00 ± 14.14 %', '50.00 %', '')
        """
        if not self:
            return ""
        spread = "" if self.std is None else f" ± {self.metric.number(self.std)}"
        return f"{self.metric.number(self.mean)}{spread}{' %' if self.metric.unit == 'share' else ''}"


def number(value: str | None) -> float | None:
    """A swept value as a finite number; None where it is none.

    Example:
        >>> number("0.5"), number("kd"), number("nan"), number(None)
        (0.5, None, None, None)
    """
    try:
        parsed = float(value) if value is not None else math.nan
    except ValueError:
        return None
    return parsed if math.isfinite(parsed) else None


def display(value: str | None) -> str:
    """A swept value for display: rounded, without quotes; a dash where the command did not give one.

    Example:
        >>> display("0.12345678"), display("'a b'"), display("[kd,sp]"), display(None)
        ('0.1235', 'a b', '[kd,sp]', '–')
    """
    if value is None:
        return "–"
    parsed = number(value)
    if parsed is not None:
        return value if len(value) <= 6 else f"{parsed:.4g}"
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value


def ordered(values: Iterable[str | None]) -> list[str | None]:
    """The distinct values of a key: numbers by size, others in order of appearance, None last.

    Example:
        >>> ordered(["10", "9", None, "9"])
        ['9', '10', None]
    """
    distinct = list(dict.fromkeys(values))
    known = [value for value in distinct if value is not None]
    if all(number(value) is not None for value in known):
        known.sort(key=lambda value: number(value) or 0.0)
    return [*known, *([None] if None in distinct else [])]
