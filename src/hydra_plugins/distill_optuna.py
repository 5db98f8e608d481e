"""``hydra/sweeper=optuna``: a search through ranges with Optuna, by validation accuracy after the last epoch.

hydra-optuna-sweeper asks for Optuna below 3, so this is a thin sweeper over today's: ask, launch, tell.
"""

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from distill.errors import UserError, first_line
from distill.sweeps import jobs, record, trial
from distill.sweeps.jobs import State


class OptunaSweeper(Sweeper):
    """Asks a study for settings, has them run, and tells it the validation accuracies.

    Several commands with one ``storage`` and ``study_name`` share the trials. A sweep that was stopped goes on: trials
    that were not finished are run again with their settings.

    Args:
        n_trials: of the whole study.
        at_once: asked for together.
        sampler: a key of ``trial.SAMPLERS``.
        sampler_args: its arguments.
        pruner: a key of ``trial.PRUNERS``.
        pruner_args: its arguments.
        seed: of the sampler.
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
        """Checks the knobs and sets up the launcher."""
        for key in ("n_trials", "at_once"):
            value = getattr(self, key)
            if type(value) is not int or value < 1:
                raise UserError(f"hydra.sweeper.{key} must be a whole number from 1, got {value!r}")
        try:
            import optuna  # noqa: F401
        except ImportError as error:
            raise UserError("hydra/sweeper=optuna needs Optuna: pip install 'distill[optuna]'") from error
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def _study(self) -> tuple[Any, trial.StudyPlace, Path]:
        """The study, where it is, and the sweep's folder."""
        assert self.config is not None
        folder = Path(str(self.config.hydra.sweep.dir))
        plain = {key: _plain(getattr(self, key)) for key in ("sampler_args", "pruner_args")}
        given = dict(plain["sampler_args"])
        if self.sampler != "gp" or self.seed is not None:
            given.setdefault("seed", self.seed)
        if self.sampler == "tpe":
            given.setdefault("constant_liar", self.at_once > 1)
        sampler = trial.made("sampler", trial.SAMPLERS, self.sampler, given)
        storage = self.storage or str((folder / "study.journal").absolute())
        place = trial.StudyPlace(storage, self.study_name, self.pruner, plain["pruner_args"])
        return trial.open_study(place, sampler), place, folder

    def sweep(self, arguments: list[str]) -> None:
        """Runs what is left of the trials, and says which one was the best."""
        fixed, ranges = space(arguments)
        study, place, folder = self._study()
        _same_space(study, ranges)
        for found in self._left(study, folder):
            self._run([found], study, place, folder, fixed)
        while (left := self.n_trials - len(study.get_trials(deepcopy=False))) > 0:
            asked = [study.ask(fixed_distributions=ranges) for _ in range(min(left, self.at_once))]
            self._run([(one.number, one.params) for one in asked], study, place, folder, fixed)
        print(_best(study, fixed), flush=True)

    def _left(self, study: Any, folder: Path) -> list[tuple[int, dict[str, Any]]]:
        """Trials that were begun and belong to nobody any more; those that ended meanwhile are told."""
        left = []
        for one in study.get_trials(deepcopy=False):
            if one.state.is_finished():
                continue
            job, asked = jobs.read(folder / str(one.number)), jobs.load(folder / str(one.number) / jobs.TRIAL)
            if job.state in (State.finished, State.pruned):
                _tell(study, one.number, folder)
            elif job.state != State.running and not (asked and jobs.alive(asked)):
                left.append((one.number, one.params))
        return left

    def _run(
        self, asked: Sequence[tuple[int, dict[str, Any]]], study: Any, place: trial.StudyPlace, folder: Path,
        fixed: list[str],
    ) -> None:  # fmt: skip
        overrides = []
        for number, params in asked:
            trial.write(folder / str(number), place, number)
            own = [f"{key}={value}" for key, value in params.items()]
            overrides.append([*fixed, *own, f"hydra.sweep.subdir='{number}'"])
        assert self.launcher is not None
        first = asked[0][0]
        self.launcher.launch(overrides, initial_job_idx=first)
        for number, _ in asked:
            _tell(study, number, folder)


def space(arguments: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Overrides that stay, and a distribution for each that is a sweep.

    ``interval(a, b)`` is a range of floats, ``int(interval(a, b))`` one of whole numbers, ``tag(log, interval(a, b))``
    on a logarithmic scale; ``range(a, b, step)`` has its steps; ``a,b,c`` is a choice.

    Raises:
        UserError: nothing is swept, or a range that is none.

    Example:
        >>> fixed, ranges = space(["kd=kd", "kd.T=interval(1,10)"])
        >>> fixed, ranges["kd.T"].high
        (['kd=kd'], 10.0)
    """
    last = {one.get_key_element(): one for one in OverridesParser.create().parse_overrides(list(arguments))}
    fixed = [one.input_line for one in last.values() if not one.is_sweep_override()]
    ranges = {key: _distribution(one) for key, one in last.items() if one.is_sweep_override()}
    if not ranges:
        raise UserError("hydra/sweeper=optuna has nothing to search: give a range, as in 'kd.T=interval(1,10)'")
    return [line for line in fixed if line is not None], ranges


def _distribution(override: Override) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value: Any = override.value()
    key, log = override.get_key_element(), "log" in getattr(value, "tags", ())
    try:
        if isinstance(value, IntervalSweep):
            whole = isinstance(value.start, int) and isinstance(value.end, int)
            kind: Any = IntDistribution if whole else FloatDistribution
            if value.start == value.end:
                raise ValueError("its ends are equal")
            return kind(value.start, value.end, log=log)
        if isinstance(value, RangeSweep):
            found = [str(x) for x in value.range()]
            return CategoricalDistribution(found)
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    except ValueError as error:
        raise UserError(f"{key}: {override.input_line} is no range: {first_line(error)}") from error


def _same_space(study: Any, ranges: dict[str, Any]) -> None:
    """A UserError where the study's trials are of another search."""
    for one in study.get_trials(deepcopy=False):
        if one.distributions and one.distributions != ranges:
            keys = sorted(k for k in {*one.distributions, *ranges} if one.distributions.get(k) != ranges.get(k))
            raise UserError(
                f"the study '{study.study_name}' searched other ranges (of {', '.join(keys)}): "
                "choose another hydra.sweeper.study_name or hydra.sweep.dir"
            )


def _tell(study: Any, number: int, folder: Path) -> None:
    from optuna.trial import TrialState

    job = jobs.read(folder / str(number))
    accuracy = record.val_acc(job)
    if job.state == State.pruned:
        study.tell(number, state=TrialState.PRUNED)
    elif job.state == State.finished and not math.isnan(accuracy):
        study.tell(number, accuracy)
    elif job.state in (State.finished, State.failed):
        study.tell(number, state=TrialState.FAIL)


def _best(study: Any, fixed: Sequence[str]) -> str:
    """The best trial in one line."""
    try:
        best = study.best_trial
    except ValueError:
        return "optuna: no trial finished"
    own = [f"{key}={value}" for key, value in best.params.items()]
    return (
        f"optuna: best of {len(study.get_trials(deepcopy=False))} trials: number {best.number}, "
        f"{100 * best.value:.2f} % on validation: {shlex.join(['python', 'train.py', *fixed, *own])}"
    )


def _plain(node: Any) -> dict[str, Any]:
    found: Any = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else dict(node or {})
    return dict(found)
