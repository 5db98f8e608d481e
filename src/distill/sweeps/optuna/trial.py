"""A job that is a trial of an Optuna study: its ``trial.json``, and access to the study."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.sweeps.jobs import TRIAL, load
from distill.utils.checked import write_json
from distill.utils.errors import UserError, first_line, nearest

if TYPE_CHECKING:
    import optuna

PRUNERS = {
    "none": "NopPruner", "median": "MedianPruner", "percentile": "PercentilePruner",
    "successive_halving": "SuccessiveHalvingPruner", "hyperband": "HyperbandPruner",
}  # fmt: skip
SAMPLERS = {"tpe": "TPESampler", "random": "RandomSampler", "gp": "GPSampler", "qmc": "QMCSampler"}
_YAML_TYPES = {"int": (int,), "float": (int, float), "bool": (bool,)}  # those of Optuna's annotations that YAML has


@dataclass(frozen=True)
class StudyConfig:
    """How a study is opened."""

    storage: str  # a file of Optuna's journal, or the URL of a database ("sqlite:///...", "mysql://...")
    name: str
    pruner: str = "none"  # a key of PRUNERS
    pruner_args: Mapping[str, Any] | None = None
    direction: str = "maximize"  # or minimize: of the task's score


def instantiate(group: str, classes: Mapping[str, str], name: str, arguments: Mapping[str, Any]) -> Any:
    """A sampler or pruner of Optuna.

    Args:
        group: "sampler" or "pruner".
        classes: Optuna's classes by their names in the configuration.
        name: one of the latter.
        arguments: of its constructor; a ``UserError`` names one that it does not take.
    """
    import optuna

    if name not in classes:
        raise UserError(f"hydra.sweeper.{group}={name} is unknown; {nearest(name, classes)}")
    cls = getattr(getattr(optuna, f"{group}s"), classes[name])
    parameters = inspect.signature(cls).parameters
    for key, value in arguments.items():
        if key not in parameters:
            raise UserError(f"hydra.sweeper.{group}_args: {name} takes no {key}; {nearest(key, parameters, shown=20)}")
        expected = str(getattr(parameters[key].annotation, "__name__", parameters[key].annotation))
        if type(value) not in _YAML_TYPES.get(expected, (type(value),)):
            raise UserError(f"hydra.sweeper.{group}_args: {key} must be {expected}, got {value!r}")
    try:
        return cls(**arguments)
    except (TypeError, ValueError) as error:
        raise UserError(f"hydra.sweeper.{group}_args: {first_line(error)}") from error


def open_storage(storage: str) -> Any:
    """The storage at a path or URL; a ``UserError`` where it cannot be opened."""
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    try:
        if storage.startswith("sqlite:"):
            return RDBStorage(storage, engine_kwargs={"connect_args": {"timeout": 60}})
        if "://" in storage:
            return RDBStorage(storage)
        path = Path(storage).absolute()  # the journal's lock file is a symlink to it
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(path)))
    except Exception as error:  # SQLAlchemy and its drivers have their own types
        raise UserError(f"hydra.sweeper.storage={storage} cannot be opened: {first_line(error)}") from error


def open_study(config: StudyConfig, sampler: Any = None) -> "optuna.Study":
    """The study, created where there is none."""
    import optuna
    from optuna.study import StudyDirection

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = instantiate("pruner", PRUNERS, config.pruner, config.pruner_args or {})
    return optuna.create_study(
        storage=open_storage(config.storage), study_name=config.name, sampler=sampler, pruner=pruner,
        direction=StudyDirection[config.direction.upper()], load_if_exists=True,
    )  # fmt: skip


def write(folder: Path, config: StudyConfig, number: int, worker: str) -> None:
    """Writes ``trial.json``: the job in ``folder`` is a trial of a study, run by the command with that worker id."""
    write_json(folder / TRIAL, {"number": number, **asdict(config), "worker": worker})


def pruning_callback(folder: Path) -> Callable[[int, float], bool] | None:
    """A function of (epoch, score) that reports to the study and returns whether the job in ``folder`` shall go on.

    Returns:
        None where the job is no trial, or the study has closed it (a pruned trial that is resumed by hand).
    """
    entry = load(folder / TRIAL)
    if entry is None:
        return None
    import optuna

    study = open_study(
        StudyConfig(**{field.name: entry[field.name] for field in fields(StudyConfig) if field.name in entry})
    )
    frozen = next((each for each in study.get_trials(deepcopy=False) if each.number == entry["number"]), None)
    if frozen is None or frozen.state.is_finished():
        return None
    trial = optuna.trial.Trial(study, frozen._trial_id)
    reported = set(frozen.intermediate_values)

    def go_on(epoch: int, score: float) -> bool:
        if epoch not in reported:  # a resumed job repeats the epoch it was stopped in
            trial.report(score, epoch)
            reported.add(epoch)
        return not trial.should_prune()

    return go_on
