"""Numbers of several runs taken together, and the values of swept keys as they are shown."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import mean, stdev


@dataclass(frozen=True)
class Spread:
    """Shares of several runs.

    Attributes:
        mean: theirs; NaN of none.
        std: of the sample (n − 1); None of fewer than two.
        n: how many.
    """

    mean: float
    std: float | None
    n: int

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """The spread of those values that are numbers.

        Example:
            >>> Spread.of([0.5, 0.7, float("nan")]).n
            2
        """
        known = [value for value in values if not math.isnan(value)]
        if not known:
            return cls(math.nan, None, 0)
        return cls(mean(known), stdev(known) if len(known) > 1 else None, len(known))

    def __bool__(self) -> bool:
        return self.n > 0

    def __str__(self) -> str:
        """In percent.

        Example:
            >>> str(Spread.of([0.5, 0.7])), str(Spread.of([0.5])), str(Spread.of([]))
            ('60.00 ± 14.14 %', '50.00 %', '')
        """
        if not self:
            return ""
        return f"{100 * self.mean:.2f}{'' if self.std is None else f' ± {100 * self.std:.2f}'} %"


def number(value: str | None) -> float | None:
    """A swept value as a number; None where it is none.

    Example:
        >>> number("0.5"), number("kd"), number("nan"), number(None)
        (0.5, None, None, None)
    """
    try:
        found = float(value) if value is not None else math.nan
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def shown(value: str | None) -> str:
    """A swept value as a reader wants it: long fractions cut short, quotes left out, a dash where it was not given.

    Example:
        >>> shown("0.12345678"), shown("'a b'"), shown("[kd,sp]"), shown(None)
        ('0.1235', 'a b', '[kd,sp]', '–')
    """
    if value is None:
        return "–"
    found = number(value)
    if found is not None:
        return value if len(value) <= 6 else f"{found:.4g}"
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value


def ordered(values: Iterable[str | None]) -> list[str | None]:
    """The distinct values of a key: numbers by size, others as they came, nothing last.

    Example:
        >>> ordered(["10", "9", None, "9"])
        ['9', '10', None]
    """
    distinct = list(dict.fromkeys(values))
    given = [value for value in distinct if value is not None]
    if all(number(value) is not None for value in given):
        given.sort(key=lambda value: number(value) or 0.0)
    return [*given, *([None] if None in distinct else [])]
