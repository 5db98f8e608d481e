"""A study as the commands that share it work it off: each trial is taken by one of them, and told how it ended."""

import math
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, TrialState, create_trial

from distill.sweeps import jobs, record
from distill.sweeps.jobs import State
from distill.sweeps.optuna import trial

# A trial's attributes: whose it is; the job that it repeats; that it is none of the n_trials.
FOLDER, AGAIN, EXTRA = "folder", "again", "extra"
UNTAKEN = timedelta(minutes=5)  # so old, a trial that nobody has taken is of a process killed while it asked


@dataclass(frozen=True)
class Taken:
    """A trial that this process has taken.

    Attributes:
        number: the trial's in the study.
        job: its folder's name; another number where it repeats a job that failed.
        params: its settings.
    """

    number: int
    job: int
    params: dict[str, Any]


class Search:
    """What is left to do of a study, for one of the commands that work on it.

    A command holds a lock as long as it lives; what it has taken and not ended is free when the lock is.

    Args:
        study: of Optuna.
        place: where it is.
        folder: of the sweep.
        ranges: see ``distill.sweeps.optuna.space``.
        n_trials: of the study, whoever runs them; failed ones are counted once, however often they are repeated.
    """

    def __init__(
        self, study: Any, place: trial.StudyPlace, folder: Path, ranges: dict[str, Any], n_trials: int
    ) -> None:
        self.study = study
        self.place = place
        self.folder = folder
        self.ranges = ranges
        self.n_trials = n_trials
        self.worker = uuid.uuid4().hex

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """While this command takes trials."""
        lock = self._lock_of(self.worker)
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        with lock:
            try:
                yield
            finally:
                Path(lock.lock_file).unlink(missing_ok=True)

    def _lock_of(self, worker: str) -> FileLock:
        return FileLock(self.folder / ".workers" / f"{worker}.lock", timeout=0)

    def _works(self, worker: str) -> bool:
        """Whether the command of that name still runs."""
        if worker == self.worker:
            return True
        if not Path(self._lock_of(worker).lock_file).exists():
            return False
        try:
            with self._lock_of(worker):
                return False
        except Timeout:
            return True

    def counted(self) -> list[FrozenTrial]:
        """The study's trials, each once: without repetitions."""
        return [t for t in self.study.get_trials(deepcopy=False) if not {AGAIN, EXTRA} & set(t.user_attrs)]

    def ask(self) -> Taken | None:
        """A new trial; None: there are ``n_trials``.

        Of several commands that ask for the last one together, the one with the lowest number has it.
        """
        if len(self.counted()) >= self.n_trials:
            return None
        asked = self.study.ask(fixed_distributions=self.ranges)
        if sum(t.number < asked.number for t in self.counted()) >= self.n_trials:
            self._drop(asked.number, asked._trial_id)
            return None
        asked.set_user_attr(FOLDER, str(self.folder))
        return self._take(Taken(asked.number, asked.number, asked.params))

    def left(self, failed: bool = False) -> list[Taken]:
        """Takes trials of this folder that nobody works on any more; those that have ended since are told.

        Args:
            failed: whether jobs that failed are repeated, each as a trial of its own with the same settings.
        """
        taken = []
        with FileLock(self.folder / ".search.lock"):
            trials = self.study.get_trials(deepcopy=False)
            for one in trials:
                number = int(one.user_attrs.get(AGAIN, one.number))
                entry = jobs.load(self.folder / str(number) / jobs.TRIAL)
                mine = entry is not None and entry["number"] == one.number
                if one.state == TrialState.RUNNING and not mine:
                    unknown = one.user_attrs.get(FOLDER) in (None, str(self.folder))
                    if unknown and one.datetime_start and datetime.now() - one.datetime_start > UNTAKEN:
                        self._drop(one.number, one._trial_id)
                if not mine or self._works((entry or {})["worker"]):
                    continue
                found = Taken(one.number, number, one.params)
                state = jobs.read(self.folder / str(number)).state
                if one.state == TrialState.FAIL and failed and state == State.failed:
                    taken.append(self._take(self._repeated(found, one)))
                elif one.state == TrialState.RUNNING and state == State.stopped:
                    taken.append(self._take(found))
                elif one.state == TrialState.RUNNING:
                    self.tell(found)
        return taken

    def _repeated(self, found: Taken, one: FrozenTrial) -> Taken:
        """A new trial with the settings of one that has ended."""
        token = uuid.uuid4().hex
        self.study.add_trial(
            create_trial(
                state=TrialState.RUNNING, params=one.params, distributions=one.distributions,
                user_attrs={FOLDER: str(self.folder), AGAIN: found.job, "token": token},
            )
        )  # fmt: skip
        trials = self.study.get_trials(deepcopy=False)
        number = next(t.number for t in trials if t.user_attrs.get("token") == token)
        return Taken(number, found.job, found.params)

    def _take(self, taken: Taken) -> Taken:
        trial.write(self.folder / str(taken.job), self.place, taken.number, self.worker)
        return taken

    def _drop(self, number: int, trial_id: int) -> None:
        """Closes a trial that nobody runs."""
        self.study._storage.set_trial_user_attr(trial_id, EXTRA, True)
        self.study.tell(number, state=TrialState.FAIL)

    def tell(self, taken: Taken) -> None:
        """How a trial's job ended; nothing while it runs, or where it was stopped."""
        job = jobs.read(self.folder / str(taken.job))
        if job.state == State.finished and math.isnan(record.val_acc(job)):
            own = [f"{key}={value}" for key, value in job.overrides.items()]
            record.fail(job.folder, own, "no validation accuracy to search by (trainer.limit_val_batches)")
            job = jobs.read(job.folder)
        if job.state == State.finished:
            self.study.tell(taken.number, record.val_acc(job), skip_if_finished=True)
        elif job.state in (State.pruned, State.failed):
            state = TrialState.PRUNED if job.state == State.pruned else TrialState.FAIL
            self.study.tell(taken.number, state=state, skip_if_finished=True)
