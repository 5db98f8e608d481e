"""A sampler whose proposal for a trial depends on the seed, the trial's number and the study, and on no process."""

from collections.abc import Callable
from typing import Any

import numpy as np
from optuna.samplers import BaseSampler


class SeededByTrial(BaseSampler):
    """Makes a sampler anew for each trial, from a seed of its own.

    So a search that was stopped goes on as it would have, and several commands with one seed never propose the same.

    Args:
        make: gives a sampler from its seed.
        seed: of all trials together.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self.make = make
        self.seed = seed
        self.inner = make(seed)

    def before_trial(self, study: Any, trial: Any) -> None:
        """The trial's own sampler."""
        self.inner = self.make(int(np.random.SeedSequence((self.seed, trial.number)).generate_state(1)[0]))
        self.inner.before_trial(study, trial)

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        """As the trial's own sampler does."""
        return self.inner.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Any, trial: Any, search_space: dict[str, Any]) -> dict[str, Any]:
        """As the trial's own sampler does."""
        return self.inner.sample_relative(study, trial, search_space)

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        """As the trial's own sampler does."""
        return self.inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Any, trial: Any, state: Any, values: Any) -> None:
        """As the trial's own sampler does."""
        self.inner.after_trial(study, trial, state, values)
