"""A study as the commands that share it work it off: each trial is claimed by one of them, and told how it ended."""

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

# A trial's attributes: its sweep's folder; the job that it repeats; that it is none of the n_trials.
FOLDER, AGAIN, EXTRA = "folder", "again", "extra"
UNCLAIMED = timedelta(minutes=5)  # a trial unclaimed for so long belongs to a process killed while it asked


@dataclass(frozen=True)
class ClaimedTrial:
    """A trial that this process runs."""

    number: int  # in the study
    job: int  # its folder's name; another number where it repeats a job that failed
    params: dict[str, Any]


class Search:
    """The remaining trials of a study, for one of the commands that work on it.

    A command holds a lock as long as it lives; others take over its unfinished trials when the lock is free.

    Args:
        study: of Optuna.
        config: how it is opened.
        folder: of the sweep.
        distributions: see ``distill.sweeps.optuna.search_space``.
        n_trials: of the study, whoever runs them; failed ones are counted once, however often they are repeated.
    """

    def __init__(
        self, study: Any, config: trial.StudyConfig, folder: Path, distributions: dict[str, Any], n_trials: int
    ) -> None:
        self.study = study
        self.config = config
        self.folder = folder
        self.distributions = distributions
        self.n_trials = n_trials
        self.worker = uuid.uuid4().hex

    @contextmanager
    def worker_lock(self) -> Iterator[None]:
        """Held while this command claims and runs trials."""
        lock = self._lock_of(self.worker)
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        with lock:
            try:
                yield
            finally:
                Path(lock.lock_file).unlink(missing_ok=True)

    def _lock_of(self, worker: str) -> FileLock:
        return FileLock(self.folder / ".workers" / f"{worker}.lock", timeout=0)

    def _is_alive(self, worker: str) -> bool:
        """Whether the command of that worker still runs."""
        if worker == self.worker:
            return True
        lock = self._lock_of(worker)
        if not Path(lock.lock_file).exists():
            return False
        try:
            with lock:
                return False
        except Timeout:
            return True

    def counted(self) -> list[FrozenTrial]:
        """The study's trials, each once: without repetitions."""
        return [t for t in self.study.get_trials(deepcopy=False) if not {AGAIN, EXTRA} & set(t.user_attrs)]

    def ask(self) -> ClaimedTrial | None:
        """A new trial; None: there are ``n_trials``.

        Of several commands that ask for the last one together, the one with the lowest number gets it.
        """
        if len(self.counted()) >= self.n_trials:
            return None
        new = self.study.ask(fixed_distributions=self.distributions)
        if sum(t.number < new.number for t in self.counted()) >= self.n_trials:
            self._drop(new.number, new._trial_id)
            return None
        new.set_user_attr(FOLDER, str(self.folder))
        return self._claim(ClaimedTrial(new.number, new.number, new.params))

    def resume(self, retry_failed: bool = False) -> list[ClaimedTrial]:
        """Claims trials of this folder whose command has ended; tells the study of those whose jobs have ended since.

        Args:
            retry_failed: failed jobs are repeated, each as a new trial with the same settings.
        """
        claimed = []
        with FileLock(self.folder / ".search.lock"):
            for each in self.study.get_trials(deepcopy=False):
                job = int(each.user_attrs.get(AGAIN, each.number))
                entry = jobs.load(self.folder / str(job) / jobs.TRIAL)
                if entry is None or entry["number"] != each.number:
                    unknown = each.user_attrs.get(FOLDER) in (None, str(self.folder))
                    started = each.datetime_start if each.state == TrialState.RUNNING else None
                    if unknown and started and datetime.now() - started > UNCLAIMED:
                        self._drop(each.number, each._trial_id)
                    continue
                if self._is_alive(entry["worker"]):
                    continue
                candidate = ClaimedTrial(each.number, job, each.params)
                state = jobs.read(self.folder / str(job)).state
                if each.state == TrialState.FAIL and retry_failed and state == State.failed:
                    claimed.append(self._claim(self._repeat(candidate, each)))
                elif each.state == TrialState.RUNNING and state == State.stopped:
                    claimed.append(self._claim(candidate))
                elif each.state == TrialState.RUNNING:
                    self.tell(candidate)
        return claimed

    def _repeat(self, failed: ClaimedTrial, frozen: FrozenTrial) -> ClaimedTrial:
        """A new trial with the settings of one that has failed."""
        token = uuid.uuid4().hex
        self.study.add_trial(
            create_trial(
                state=TrialState.RUNNING, params=frozen.params, distributions=frozen.distributions,
                user_attrs={FOLDER: str(self.folder), AGAIN: failed.job, "token": token},
            )
        )  # fmt: skip
        trials = self.study.get_trials(deepcopy=False)
        number = next(t.number for t in trials if t.user_attrs.get("token") == token)
        return ClaimedTrial(number, failed.job, failed.params)

    def _claim(self, claimed: ClaimedTrial) -> ClaimedTrial:
        trial.write(self.folder / str(claimed.job), self.config, claimed.number, self.worker)
        return claimed

    def _drop(self, number: int, trial_id: int) -> None:
        """Closes a trial that no command runs."""
        self.study._storage.set_trial_user_attr(trial_id, EXTRA, True)
        self.study.tell(number, state=TrialState.FAIL)

    def tell(self, claimed: ClaimedTrial) -> None:
        """Tells the study how a trial's job ended; nothing while it runs, or where it was stopped."""
        job = jobs.read(self.folder / str(claimed.job))
        if job.state == State.finished and math.isnan(record.val_score(job)):
            overrides = [f"{key}={value}" for key, value in job.overrides.items()]
            record.fail(job.folder, overrides, "no score on validation to search by (trainer.limit_val_batches)")
            job = jobs.read(job.folder)
        if job.state == State.finished:
            self.study.tell(claimed.number, record.val_score(job), skip_if_finished=True)
        elif job.state in (State.pruned, State.failed):
            state = TrialState.PRUNED if job.state == State.pruned else TrialState.FAIL
            self.study.tell(claimed.number, state=state, skip_if_finished=True)
