"""Sweeps that would not end: ranges without an end, and more jobs than anybody runs."""

import math
from collections.abc import Iterable

from hydra.core.override_parser.types import ChoiceSweep, RangeSweep

from distill.config.paths import parsed
from distill.utils.errors import UserError

MOST_JOBS = 10_000


def check(overrides: Iterable[str]) -> None:
    """Checks the values of a sweep; what cannot be read, Hydra refuses.

    Raises:
        UserError: a range without steps or end; more than ``MOST_JOBS`` jobs.

    Example:
        >>> check(["seed=range(0,1e12)"])
        Traceback (most recent call last):
        distill.utils.errors.UserError: seed=range(0,1e12): a sweep of 1e+12 jobs; at most 10000
    """
    jobs = 1.0
    for text in overrides:
        if not {",", "("} & {*text} or (override := parsed(text)) is None:
            continue
        value = override.value()
        number = len(value.list) if isinstance(value, ChoiceSweep) else 1.0
        if isinstance(value, RangeSweep):
            number = _steps(value, text)
        jobs *= max(1.0, number)
        if jobs > MOST_JOBS:
            raise UserError(f"{text}: a sweep of {jobs:.4g} jobs; at most {MOST_JOBS}")


def _steps(value: RangeSweep, text: str) -> float:
    start, stop, step = (
        math.nan if number is None else float(number) for number in (value.start, value.stop, value.step)
    )
    if not all(map(math.isfinite, (start, stop, step))) or step == 0:
        raise UserError(f"{text}: a range has a finite start and stop, and a step other than 0")
    return max(0.0, math.ceil((stop - start) / step))
