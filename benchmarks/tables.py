"""Tables and numbers in Markdown."""

from collections.abc import Sequence

from benchmarks.results import Spread

BUSY = 2.0  # the spread above which it is said


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, numbers to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def number(value: float, digits: int = 3) -> str:
    """A number with so many significant digits.

    Example:
        >>> number(0.12345), number(1234.5), number(12.0)
        ('0.123', '1234', '12')
    """
    shown = f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"
    return shown if "e" not in shown else f"{value:f}".rstrip("0")


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median and range; a range of more than a factor of 2 is not the sides' own.

    Example:
        >>> spread([1.0, 2.0]), spread([1.0, 2.1])
        ('**1.50** (1.00 … 2.00)', '**1.55** (1.00 … 2.10; the machine was busy)')
    """
    found = Spread.of(values)
    if len(values) == 1:
        return f"**{found.median:.{digits}f}**"
    busy = "; the machine was busy" if found.high > BUSY * found.low else ""
    return f"**{found.median:.{digits}f}** ({found.low:.{digits}f} … {found.high:.{digits}f}{busy})"
