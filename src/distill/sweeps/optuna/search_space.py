"""The search space of a study, read from the command line: fixed overrides, and a distribution for each swept key."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from distill.utils.errors import UserError, first_line

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def search_space(arguments: Sequence[str], loader: Any = None) -> tuple[list[str], dict[str, "BaseDistribution"]]:
    """Fixed overrides, and a distribution for each swept key.

    ``interval(a,b)`` is a range of floats, ``int(interval(a,b))`` one of whole numbers, ``tag(log,interval(a,b))`` on
    a logarithmic scale; ``range(a,b,step)`` has its steps, b not among them; ``a,b,c`` is a choice without an order.

    Args:
        arguments: overrides; of two for one key, the later one counts.
        loader: Hydra's, for ``glob(...)``.

    Raises:
        UserError: nothing is swept, or a range is invalid.

    Example:
        >>> fixed, distributions = search_space(["kd=kd", "kd.T=interval(1,10)", "seed=range(0,7,2)"])
        >>> fixed, distributions["kd.T"].high, distributions["seed"].high
        (['kd=kd'], 10.0, 6)
    """
    parsed = OverridesParser.create(loader).parse_overrides(list(arguments))
    last = {override.get_key_element(): override for override in parsed}
    fixed = [override.input_line for override in last.values() if not override.is_sweep_override()]
    distributions = {key: _distribution(override) for key, override in last.items() if override.is_sweep_override()}
    if not distributions:
        raise UserError("hydra/sweeper=optuna has nothing to search: give a range, as in 'kd.T=interval(1,10)'")
    return [line for line in fixed if line is not None], distributions


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
            low, high = round(steps[0], 12), round(steps[-1], 12)  # Hydra adds up steps, and their rounding errors
            return FloatDistribution(low, high, step=abs(value.step))
        return CategoricalDistribution(list(dict.fromkeys(override.sweep_string_iterator())))
    except ValueError as error:
        raise UserError(f"{override.input_line} is nothing to search: {first_line(error)}") from error


def samples(distributions: dict[str, Any]) -> Iterator[list[str]]:
    """A few points as overrides, in which every choice occurs.

    Example:
        >>> list(samples(search_space(["kd=kd,dkd", "kd.T=interval(1,10)"])[1]))
        [['kd=kd', 'kd.T=1.0'], ['kd=dkd', 'kd.T=1.0']]
    """
    values = {key: getattr(each, "choices", None) or (each.low,) for key, each in distributions.items()}
    for i in range(max(map(len, values.values()))):
        yield [f"{key}={choices[i % len(choices)]}" for key, choices in values.items()]


def check_same_space(study: Any, distributions: dict[str, "BaseDistribution"], direction: str = "maximize") -> None:
    """Refuses a study with trials of another search space.

    Raises:
        UserError: other distributions, or another direction.
    """
    advice = f"choose another hydra.sweeper.study_name or hydra.sweep.dir than that of '{study.study_name}'"
    if [each.name.lower() for each in study.directions] != [direction]:
        raise UserError(f"that study does not {direction} one value; {advice}")
    for trial in study.get_trials(deepcopy=False):  # one just asked for elsewhere may not have all its keys yet
        keys = [key for key, distribution in trial.distributions.items() if distributions.get(key) != distribution]
        if trial.state.is_finished():
            keys += [key for key in distributions if trial.distributions and key not in trial.distributions]
        if keys:
            raise UserError(f"the study searched other ranges before (of {', '.join(sorted(keys))}); {advice}")
