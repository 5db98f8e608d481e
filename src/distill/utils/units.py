"""Numbers as a reader of a table wants them."""


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


def percent(value: float | None) -> str:
    """A share in percent, empty where there is none.

    Example:
        >>> percent(0.9916), percent(None)
        ('99.16 %', '')
    """
    return "" if value is None else f"{100 * value:.2f} %"
