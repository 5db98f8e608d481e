"""A sampler whose proposal for a trial depends on the seed, the trial's number and the study, and on no process."""

from collections.abc import Callable
from typing import Any

import numpy as np
from optuna.samplers import BaseSampler


class SeededByTrial(BaseSampler):
    """Makes a new sampler for each trial, seeded by (seed, trial number).

    A resumed search therefore proposes what it would have, and several commands with one seed never propose the same.

    Args:
        make: makes a sampler from its seed.
        seed: of all trials together.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self.make = make
        self.seed = seed
        self.sampler = make(seed)

    def before_trial(self, study: Any, trial: Any) -> None:
        self.sampler = self.make(int(np.random.SeedSequence((self.seed, trial.number)).generate_state(1)[0]))
        self.sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        return self.sampler.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Any, trial: Any, search_space: dict[str, Any]) -> dict[str, Any]:
        return self.sampler.sample_relative(study, trial, search_space)

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        return self.sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Any, trial: Any, state: Any, values: Any) -> None:
        self.sampler.after_trial(study, trial, state, values)
