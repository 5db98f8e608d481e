"""``hydra/sweeper=optuna``: a search through ranges with Optuna, by the task's score on validation (of the kept epoch).

hydra-optuna-sweeper asks for Optuna below 3, so this is a thin sweeper over the current one: ask, launch, tell.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from distill.config import command_line
from distill.sweeps.optuna import search_space, trial
from distill.utils.errors import UserError, require_package
from distill.utils.invocation import invocation

if TYPE_CHECKING:
    from distill.sweeps.optuna.search import ClaimedTrial, Search
    from distill.tasks.info import Metric


@dataclass(eq=False)
class OptunaSweeper(Sweeper):
    """Asks a study for settings, launches them as jobs, and tells it their scores on validation.

    Several commands with one ``storage`` and ``study_name`` share the trials. A stopped sweep resumes: trials that
    were not finished, or failed, are run again with their settings. The options: ``conf/hydra/sweeper/optuna.yaml``.
    """

    n_trials: int
    at_once: int
    sampler: str
    sampler_args: Any
    pruner: str
    pruner_args: Any
    seed: int | None
    storage: str | None
    study_name: str

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Checks the options and sets up the launcher."""
        for key in ("n_trials", "at_once"):
            value = getattr(self, key)
            if type(value) is not int or value < 1:
                raise UserError(f"hydra.sweeper.{key} must be a whole number from 1, got {value!r}")
        if self.seed is not None and (type(self.seed) is not int or self.seed < 0):
            raise UserError(f"hydra.sweeper.seed must be a whole number from 0 or null, got {self.seed!r}")
        for key in ("sampler_args", "pruner_args"):
            setattr(self, key, _keyword_arguments(key, getattr(self, key)))
        require_package("optuna", "hydra/sweeper=optuna", "Optuna", "optuna")
        self.config = config
        self.loader = hydra_context.config_loader
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def _make_sampler(self) -> Any:
        from distill.sweeps.optuna.sampler import SeededByTrial

        make = partial(trial.instantiate, "sampler", trial.SAMPLERS, self.sampler)
        if self.seed is None or "seed" in self.sampler_args:
            return make(self.sampler_args)
        if self.sampler == "qmc":  # its numbers are a sequence that all commands share
            return make({"seed": self.seed, **self.sampler_args})
        return SeededByTrial(lambda seed: make({**self.sampler_args, "seed": seed}), self.seed)

    def sweep(self, arguments: list[str]) -> None:
        """Runs the remaining trials, and prints the best one."""
        from distill.sweeps.optuna.search import Search

        assert self.config is not None
        folder = Path(str(self.config.hydra.sweep.dir)).absolute()
        fixed, distributions = search_space.search_space(arguments, self.loader)
        samples = search_space.samples(distributions)  # finds a mistyped key or option before the first trial
        configs = [self.loader.load_sweep_config(self.config, [*fixed, *sample]) for sample in samples]
        score = _score(configs[0])
        direction = "maximize" if score.direction == "max" else "minimize"
        sampler = self._make_sampler()
        storage = self.storage or str(folder / "study.journal")
        config = trial.StudyConfig(storage, self.study_name, self.pruner, self.pruner_args, direction)
        study = trial.open_study(config, sampler)
        search_space.check_same_space(study, distributions, direction)
        search = Search(study, config, folder, distributions, self.n_trials)
        with search.worker_lock():
            queue = search.resume(retry_failed=True)
            while queue := queue or search.resume() or self._new_trials(search):
                batch, queue = queue[: self.at_once], queue[self.at_once :]
                self._launch(search, batch, fixed)
        print(_best(search, fixed, score), flush=True)

    def _new_trials(self, search: "Search") -> list["ClaimedTrial"]:
        """As many as run at once; fewer or none as the search reaches ``n_trials``."""
        return [claimed for _ in range(self.at_once) if (claimed := search.ask())]

    def _launch(self, search: "Search", batch: Sequence["ClaimedTrial"], fixed: list[str]) -> None:
        overrides = [
            [*fixed, *(f"{key}={value}" for key, value in each.params.items()), f"hydra.sweep.subdir='{each.job}'"]
            for each in batch
        ]
        assert self.launcher is not None
        self.launcher.launch(overrides, initial_job_idx=batch[0].job)
        for each in batch:
            search.tell(each)


def _score(config: DictConfig) -> "Metric":
    """The metric by which the configured task chooses."""
    from distill.training.builder import task_class

    node: Any = OmegaConf.to_container(config.task, resolve=True)
    return task_class(node).described(node.get("score")).chooses


def _best(search: "Search", fixed: Sequence[str], score: "Metric") -> str:
    """The best trial in one line."""
    n_trials = len(search.counted())
    try:
        best = search.study.best_trial
    except ValueError:
        return f"optuna: none of {n_trials} trials finished"
    folder = command_line.config_dir(sys.argv[1:])
    flags = ["--config-dir", folder] if folder else []
    overrides = [f"{key}={value}" for key, value in best.params.items()]
    return (
        f"optuna: best of {n_trials} trials: number {best.user_attrs.get('again', best.number)}, "
        f"{score.display(best.value)} on validation: {invocation('train', *flags, *fixed, *overrides)}"
    )


def _keyword_arguments(key: str, node: Any) -> dict[str, Any]:
    value: Any = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    if value is not None and not isinstance(value, dict):
        raise UserError(f"hydra.sweeper.{key} must be arguments by name, as in {{n_startup_trials: 5}}, got {value!r}")
    return {str(name): argument for name, argument in (value or {}).items()}
