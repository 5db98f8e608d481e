"""What the live page says, read from the files of a run or a sweep."""

import math
import time
from pathlib import Path
from typing import Any

from distill.evaluation.reporting.rendering import environment
from distill.sweeps.jobs import State, seconds_left
from distill.sweeps.report.page import failures, heading, unfinished
from distill.sweeps.report.references import References
from distill.sweeps.report.results import JobResult, SweepResults, read
from distill.sweeps.report.table import job_counts, rerun_command, settings_table
from distill.utils.errors import UserError, first_line
from distill.utils.run_lock import Status
from distill.utils.units import duration

TEMPLATES = Path(__file__).parent / "templates"
MAX_BARS, MAX_SETTINGS = 50, 10  # running jobs, and settings, that are shown

templates = environment(TEMPLATES)


def _left(status: Status) -> float | None:
    """Seconds that a training still needs, as its process estimated them, less what has passed since."""
    left = status.get("left_s")
    return max(0.0, left - (time.time() - status.get("updated", 0.0))) if left is not None else None


def bar(results: SweepResults, job: JobResult) -> dict[str, Any]:
    """A running job: what is trained, epochs begun and in all, its last score, the time left of this training."""
    status = job.job.status or Status()
    epoch, last, score, left = status.get("epoch"), status.get("max_epochs"), status.get("val_score"), _left(status)
    parts = [str(status.get("training") or "preparing")]
    parts += [f"epoch {epoch} of {last}" if last else f"epoch {epoch}"] if epoch else []
    if isinstance(score, float) and math.isfinite(score):
        parts.append(f"{results.metric.display(score)} on validation")
    parts += [f"about {duration(left)} left"] if left is not None else []
    setting = " ".join(filter(None, [results.describe(job.values), f"seed={job.seed}" if job.seed else ""]))
    return {"name": job.name, "setting": setting, "text": ", ".join(parts), "done": (epoch or 1) - 1, "of": last or 0}


def time_left(results: SweepResults) -> float | None:
    """Seconds until the last job ends, from the mean time of those that have; None: nothing is known of it."""
    running = [job.job.status or Status() for job in results.jobs if job.job.state == State.running]
    ended = sum(map(results.count, (State.finished, State.failed, State.pruned)))
    if results.summaries and running:
        return seconds_left([s.wall_s for s in results.summaries], results.total - ended, len(running))
    left = [_left(status) for status in running]
    known = [seconds for seconds in left if seconds is not None]
    return max(known) if known and len(known) == results.total - ended else None


def values(folder: Path) -> dict[str, Any]:
    """Everything that the template shows.

    Raises:
        UserError: a folder that is none, or a file that is damaged.
    """
    results = read(folder)
    best, left = results.best, time_left(results)
    references = References(results, None)
    columns, rows = settings_table(results, references, MAX_SETTINGS)
    running = [job for job in results.jobs if job.job.state == State.running]
    ended = len(results.jobs) - len(running)
    return {
        "heading": heading(results),
        "folder": str(folder),
        "counts": job_counts(results),
        "ended": ended - results.count(State.stopped),
        "total": results.total,
        "left": f"about {duration(left)} left" if left is not None else "",
        "bars": [bar(results, job) for job in running[:MAX_BARS]],
        "more": max(0, len(running) - MAX_BARS),
        "failures": failures(results),
        "stopped": [group for group in unfinished(results) if group["state"] != State.running],
        "best": f"{results.describe(best.values)}: {best.val} on validation, {best.test} on test" if best else "",
        "command": rerun_command(best) if best else "",
        "columns": columns,
        "settings": rows if len(results.settings) > 1 else [],
    }


class Live:
    """The part of the page that changes; what cannot be read leaves the last one that could, with a line above it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._values = values(folder)

    def html(self) -> str:
        """The part, escaped."""
        problem = ""
        try:
            self._values = values(self.folder)
        except UserError as error:
            problem = str(error)
        except (OSError, ValueError, KeyError, TypeError) as error:  # a file that is half written
            problem = f"a file cannot be read at the moment ({first_line(error)})"
        return templates.get_template("live.html").render(self._values, problem=problem)
