"""A job that is a trial of an Optuna study: what its folder says of it, and how the study is reached."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.sweeps.jobs import TRIAL, load
from distill.utils.atomic import write_json
from distill.utils.errors import UserError, first_line, nearest

if TYPE_CHECKING:
    import optuna

PRUNERS = {
    "none": "NopPruner", "median": "MedianPruner", "percentile": "PercentilePruner",
    "successive_halving": "SuccessiveHalvingPruner", "hyperband": "HyperbandPruner",
}  # fmt: skip
SAMPLERS = {"tpe": "TPESampler", "random": "RandomSampler", "gp": "GPSampler", "qmc": "QMCSampler"}
_TYPES = {"int": (int,), "float": (int, float), "bool": (bool,)}  # those of Optuna's annotations that YAML can give


@dataclass(frozen=True)
class StudyPlace:
    """Where a study is.

    Attributes:
        storage: a file of Optuna's journal, or the URL of a database ("sqlite:///...", "mysql://...").
        name: the study's.
        pruner: a key of ``PRUNERS``.
        pruner_args: its arguments.
    """

    storage: str
    name: str
    pruner: str = "none"
    pruner_args: Mapping[str, Any] | None = None


def made(kind: str, choices: Mapping[str, str], name: str, arguments: Mapping[str, Any]) -> Any:
    """A sampler or pruner of Optuna's.

    Args:
        kind: "sampler" or "pruner".
        choices: names as in the configuration, and Optuna's.
        name: one of the former.
        arguments: of its constructor.

    Raises:
        UserError: no such name, or arguments that it does not take.
    """
    import optuna

    if name not in choices:
        raise UserError(f"hydra.sweeper.{kind}={name} is unknown; {nearest(name, choices)}")
    its_class = getattr(getattr(optuna, f"{kind}s"), choices[name])
    known = inspect.signature(its_class).parameters
    for key, value in arguments.items():
        if key not in known:
            raise UserError(f"hydra.sweeper.{kind}_args: {name} takes no {key}; {nearest(key, known, shown=20)}")
        wanted = str(getattr(known[key].annotation, "__name__", known[key].annotation))
        if type(value) not in _TYPES.get(wanted, (type(value),)):
            raise UserError(f"hydra.sweeper.{kind}_args: {key} must be {wanted}, got {value!r}")
    try:
        return its_class(**arguments)
    except (TypeError, ValueError) as error:
        raise UserError(f"hydra.sweeper.{kind}_args: {first_line(error)}") from error


def storage_of(place: str) -> Any:
    """The storage that a path or URL means.

    Raises:
        UserError: it cannot be opened.
    """
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    try:
        if place.startswith("sqlite:"):
            return RDBStorage(place, engine_kwargs={"connect_args": {"timeout": 60}})
        if "://" in place:
            return RDBStorage(place)
        path = Path(place).absolute()  # the lock beside it is a link to it
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(path)))
    except Exception as error:  # SQLAlchemy's and its drivers' own
        raise UserError(f"hydra.sweeper.storage={place} cannot be opened: {first_line(error)}") from error


def open_study(place: StudyPlace, sampler: Any = None) -> "optuna.Study":
    """The study, begun where there is none.

    Raises:
        UserError: see ``made`` and ``storage_of``.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = made("pruner", PRUNERS, place.pruner, place.pruner_args or {})
    return optuna.create_study(
        storage=storage_of(place.storage), study_name=place.name, sampler=sampler, pruner=pruner,
        direction="maximize", load_if_exists=True,
    )  # fmt: skip


def write(folder: Path, place: StudyPlace, number: int, worker: str) -> None:
    """``trial.json``: the job in ``folder`` is a trial of a study, taken by a command that names itself ``worker``."""
    write_json(folder / TRIAL, {"number": number, **asdict(place), "worker": worker})


def pruning_callback(folder: Path) -> Callable[[int, float], bool] | None:
    """How the job in ``folder`` asks its study, after an epoch with an accuracy, whether to go on.

    Returns:
        None where the job is no trial, or one that the study has closed (a pruned one that somebody continues).
    """
    entry = load(folder / TRIAL)
    if entry is None:
        return None
    import optuna

    study = open_study(StudyPlace(**{key: entry[key] for key in ("storage", "name", "pruner", "pruner_args")}))
    found = next((one for one in study.get_trials(deepcopy=False) if one.number == entry["number"]), None)
    if found is None or found.state.is_finished():
        return None
    trial = optuna.trial.Trial(study, found._trial_id)
    reported = set(found.intermediate_values)

    def go_on(epoch: int, accuracy: float) -> bool:
        if epoch not in reported:  # a resumed job repeats the epoch it was stopped in
            trial.report(accuracy, epoch)
            reported.add(epoch)
        return not trial.should_prune()

    return go_on
