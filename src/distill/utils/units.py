"""Numbers as a reader of a table wants them."""

import math


def short(number: float, unit: str = "") -> str:
    """A number with three digits, its prefix (k, M, G) and its unit.

    Example:
        >>> short(272474), short(318_000, "B"), short(12.5)
        ('272 k', '318 kB', '12.5')
    """
    for prefix, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= scale:
            return f"{number / scale:.3g} {prefix}{unit}"
    return f"{number:.3g} {unit}".rstrip()


def times(ratio: float) -> str:
    """How many times, in whole numbers from 100 on.

    Example:
        >>> times(3.499), times(99.99), times(1234.5)
        ('3.50', '99.99', '1,234')
    """
    return f"{ratio:.2f}" if ratio < 99.995 else f"{ratio:,.0f}"


def percent(value: float | None) -> str:
    """A share in percent, empty where there is none.

    Example:
        >>> percent(0.9916), percent(None)
        ('99.16 %', '')
    """
    return "" if value is None else f"{100 * value:.2f} %"


def duration(seconds: float) -> str:
    """A duration, rounded up.

    Example:
        >>> duration(12.3), duration(150), duration(8000)
        ('13 s', '3 min', '2 h 14 min')
    """
    if seconds < 100:
        return f"{math.ceil(seconds)} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
