"""A job that is a trial of an Optuna study: what its folder says of it, and how the study is reached."""

import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import UserError, first_line, nearest
from distill.sweeps.jobs import TRIAL, load

if TYPE_CHECKING:
    import optuna

PRUNERS = {
    "none": "NopPruner", "median": "MedianPruner", "percentile": "PercentilePruner",
    "successive_halving": "SuccessiveHalvingPruner", "hyperband": "HyperbandPruner",
}  # fmt: skip
SAMPLERS = {"tpe": "TPESampler", "random": "RandomSampler", "gp": "GPSampler", "qmc": "QMCSampler"}


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
    try:
        return getattr(getattr(optuna, f"{kind}s"), choices[name])(**arguments)
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
        if "://" in place:
            return RDBStorage(place)
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(place))
    except Exception as error:  # SQLAlchemy's and its drivers' own
        raise UserError(f"hydra.sweeper.storage={place} cannot be opened: {first_line(error)}") from error


def open_study(place: StudyPlace, sampler: Any = None) -> "optuna.Study":
    """The study, begun where there is none."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = made("pruner", PRUNERS, place.pruner, place.pruner_args or {})
    return optuna.create_study(
        storage=storage_of(place.storage), study_name=place.name, sampler=sampler, pruner=pruner,
        direction="maximize", load_if_exists=True,
    )  # fmt: skip


def write(folder: Path, place: StudyPlace, number: int) -> None:
    """``trial.json``: the job in ``folder`` is a trial, asked for by this process."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = {"host": socket.gethostname(), "pid": os.getpid(), "updated": time.time()}
    part = folder / f".{TRIAL}.part"
    part.write_text(json.dumps({"number": number, **asdict(place), **asked}))
    part.replace(folder / TRIAL)


def of(folder: Path) -> "optuna.trial.Trial | None":
    """The trial that the job in ``folder`` is, to report to; None: it is none."""
    entry = load(folder / TRIAL)
    if entry is None:
        return None
    import optuna

    study = open_study(StudyPlace(**{key: entry[key] for key in ("storage", "name", "pruner", "pruner_args")}))
    trial = next(trial for trial in study.get_trials(deepcopy=False) if trial.number == entry["number"])
    return optuna.trial.Trial(study, trial._trial_id)
