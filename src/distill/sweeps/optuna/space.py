"""What a search may vary, read from the command line: overrides that stay, and a distribution for each range."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from distill.utils.errors import UserError, first_line

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def space(arguments: Sequence[str], loader: Any = None) -> tuple[list[str], dict[str, "BaseDistribution"]]:
    """Overrides that stay, and a distribution for each that is a sweep.

    ``interval(a,b)`` is a range of floats, ``int(interval(a,b))`` one of whole numbers, ``tag(log,interval(a,b))`` on
    a logarithmic scale; ``range(a,b,step)`` has its steps, b not among them; ``a,b,c`` is a choice without an order.

    Args:
        arguments: overrides; of two for one key, the later one counts.
        loader: Hydra's, for ``glob(...)``.

    Raises:
        UserError: nothing is swept, or a range that is none.

    Example:
        >>> fixed, ranges = space(["kd=kd", "kd.T=interval(1,10)", "seed=range(0,7,2)"])
        >>> fixed, ranges["kd.T"].high, ranges["seed"].high
        (['kd=kd'], 10.0, 6)
    """
    last = {one.get_key_element(): one for one in OverridesParser.create(loader).parse_overrides(list(arguments))}
    fixed = [one.input_line for one in last.values() if not one.is_sweep_override()]
    ranges = {key: _distribution(one) for key, one in last.items() if one.is_sweep_override()}
    if not ranges:
        raise UserError("hydra/sweeper=optuna has nothing to search: give a range, as in 'kd.T=interval(1,10)'")
    return [line for line in fixed if line is not None], ranges


def _distribution(override: Override) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value: Any = override.value()
    tags = set(getattr(value, "tags", ()))
    try:
        if tags - {"log"}:
            raise ValueError(f"the only tag is log, not {', '.join(sorted(tags - {'log'}))}")
        if isinstance(value, IntervalSweep):
            if value.start is None or value.end is None or value.start >= value.end:
                raise ValueError("its end must be above its start")
            if tags and value.start <= 0:
                raise ValueError("a logarithmic range begins above 0")
            if isinstance(value.start, int) and isinstance(value.end, int):
                return IntDistribution(value.start, value.end, log=bool(tags))
            return FloatDistribution(value.start, value.end, log=bool(tags))
        if tags:
            raise ValueError("log is for an interval")
        if isinstance(value, RangeSweep):
            steps = sorted(dataclasses.replace(value, shuffle=False).range())
            if not steps:
                raise ValueError("it is empty")
            if all(isinstance(step, int) for step in steps):
                return IntDistribution(int(steps[0]), int(steps[-1]), step=abs(int(value.step)))
            low, high = round(steps[0], 12), round(steps[-1], 12)  # Hydra adds up steps, and their rounding
            return FloatDistribution(low, high, step=abs(value.step))
        choices = list(dict.fromkeys(override.sweep_string_iterator()))
        return CategoricalDistribution(choices)
    except ValueError as error:
        raise UserError(f"{override.input_line} is nothing to search: {first_line(error)}") from error


def samples(ranges: dict[str, Any]) -> Iterator[list[str]]:
    """A few points as overrides, in which every choice occurs.

    Example:
        >>> list(samples(space(["kd=kd,dkd", "kd.T=interval(1,10)"])[1]))
        [['kd=kd', 'kd.T=1.0'], ['kd=dkd', 'kd.T=1.0']]
    """
    found = {key: getattr(range_, "choices", None) or (range_.low,) for key, range_ in ranges.items()}
    for i in range(max(map(len, found.values()))):
        yield [f"{key}={values[i % len(values)]}" for key, values in found.items()]


def check_same(study: Any, ranges: dict[str, "BaseDistribution"]) -> None:
    """Refuses a study whose trials are of another search.

    Raises:
        UserError: other ranges, or another aim.
    """
    other = f"choose another hydra.sweeper.study_name or hydra.sweep.dir than that of '{study.study_name}'"
    if [aim.name for aim in study.directions] != ["MAXIMIZE"]:
        raise UserError(f"that study does not look for one highest value; {other}")
    for one in study.get_trials(deepcopy=False):  # one just asked for elsewhere may not have all its keys yet
        keys = [key for key, had in one.distributions.items() if ranges.get(key) != had]
        if one.state.is_finished():
            keys += [key for key in ranges if one.distributions and key not in one.distributions]
        if keys:
            raise UserError(f"the study searched other ranges before (of {', '.join(sorted(keys))}); {other}")
