"""``hydra/sweeper=optuna``: a search through ranges with Optuna, by validation accuracy after the last epoch.

hydra-optuna-sweeper asks for Optuna below 3, so this is a thin sweeper over today's: ask, launch, tell.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from distill.sweeps.optuna import space, trial
from distill.utils.errors import UserError
from distill.utils.invocation import invocation

if TYPE_CHECKING:
    from distill.sweeps.optuna.search import Search, Taken


class OptunaSweeper(Sweeper):
    """Asks a study for settings, has them run, and tells it the validation accuracies.

    Several commands with one ``storage`` and ``study_name`` share the trials. A sweep that was stopped goes on: trials
    that were not finished, or failed, are run again with their settings.

    Args:
        n_trials: of the whole study.
        at_once: asked for together.
        sampler: a key of ``trial.SAMPLERS``.
        sampler_args: its arguments.
        pruner: a key of ``trial.PRUNERS``.
        pruner_args: its arguments.
        seed: of the sampler; None: another one each time.
        storage: see ``trial.StudyPlace``; None: a journal in the sweep's folder.
        study_name: the study's.
    """

    def __init__(
        self,
        n_trials: int,
        at_once: int,
        sampler: str,
        sampler_args: Any,
        pruner: str,
        pruner_args: Any,
        seed: int | None,
        storage: str | None,
        study_name: str,
    ) -> None:
        self.n_trials = n_trials
        self.at_once = at_once
        self.sampler = sampler
        self.sampler_args = sampler_args
        self.pruner = pruner
        self.pruner_args = pruner_args
        self.seed = seed
        self.storage = storage
        self.study_name = study_name

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Checks the knobs and sets up the launcher.

        Raises:
            UserError: Optuna is missing, or a knob's value is none.
        """
        for key in ("n_trials", "at_once"):
            value = getattr(self, key)
            if type(value) is not int or value < 1:
                raise UserError(f"hydra.sweeper.{key} must be a whole number from 1, got {value!r}")
        if self.seed is not None and (type(self.seed) is not int or self.seed < 0):
            raise UserError(f"hydra.sweeper.seed must be a whole number from 0 or null, got {self.seed!r}")
        for key in ("sampler_args", "pruner_args"):
            setattr(self, key, _plain(key, getattr(self, key)))
        try:
            import optuna  # noqa: F401
        except ImportError as error:
            raise UserError("hydra/sweeper=optuna needs Optuna: pip install 'distill[optuna]'") from error
        self.config = config
        self.loader = hydra_context.config_loader
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def _made_sampler(self) -> Any:
        from distill.sweeps.optuna.sampler import SeededByTrial

        make = partial(trial.made, "sampler", trial.SAMPLERS, self.sampler)
        if self.seed is None or "seed" in self.sampler_args:
            return make(self.sampler_args)
        if self.sampler == "qmc":  # its numbers are a sequence that all commands share
            return make({"seed": self.seed, **self.sampler_args})
        return SeededByTrial(lambda seed: make({**self.sampler_args, "seed": seed}), self.seed)

    def sweep(self, arguments: list[str]) -> None:
        """Runs what is left of the trials, and says which one was the best."""
        from distill.sweeps.optuna.search import Search

        assert self.config is not None
        folder = Path(str(self.config.hydra.sweep.dir)).absolute()
        fixed, ranges = space.space(arguments, self.loader)
        for sample in space.samples(ranges):  # a mistyped key or option is found before the first trial
            self.loader.load_sweep_config(self.config, [*fixed, *sample])
        sampler = self._made_sampler()
        storage = self.storage or str(folder / "study.journal")
        place = trial.StudyPlace(storage, self.study_name, self.pruner, self.pruner_args)
        study = trial.open_study(place, sampler)
        space.check_same(study, ranges)
        search = Search(study, place, folder, ranges, self.n_trials)
        with search.at_work():
            waiting = search.left(failed=True)
            while waiting := waiting or search.left() or self._asked(search):
                now, waiting = waiting[: self.at_once], waiting[self.at_once :]
                self._run(search, now, fixed)
        print(_best(search, fixed), flush=True)

    def _asked(self, search: "Search") -> list["Taken"]:
        """New trials, until there are ``n_trials``."""
        return [one for _ in range(self.at_once) if (one := search.ask())]

    def _run(self, search: "Search", taken: Sequence["Taken"], fixed: list[str]) -> None:
        """One call of the launcher."""
        overrides = [
            [*fixed, *(f"{key}={value}" for key, value in one.params.items()), f"hydra.sweep.subdir='{one.job}'"]
            for one in taken
        ]
        assert self.launcher is not None
        self.launcher.launch(overrides, initial_job_idx=taken[0].job)
        for one in taken:
            search.tell(one)


def _best(search: "Search", fixed: Sequence[str]) -> str:
    """The best trial in one line."""
    trials = search.counted()
    try:
        best = search.study.best_trial
    except ValueError:
        return f"optuna: none of {len(trials)} trials finished"
    own = [f"{key}={value}" for key, value in best.params.items()]
    return (
        f"optuna: best of {len(trials)} trials: number {best.user_attrs.get('again', best.number)}, "
        f"{100 * best.value:.2f} % on validation: {invocation('train', *fixed, *own)}"
    )


def _plain(key: str, node: Any) -> dict[str, Any]:
    """Arguments that the configuration gives by name.

    Raises:
        UserError: it gives something else.
    """
    found: Any = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    if found is not None and not isinstance(found, dict):
        raise UserError(f"hydra.sweeper.{key} must be arguments by name, as in {{n_startup_trials: 5}}, got {found!r}")
    return {str(name): value for name, value in (found or {}).items()}
