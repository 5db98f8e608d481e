"""What a finished run says of itself on disk, read and judged before anything heavy is imported."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from distill.training.summary import roles
from distill.utils.errors import UserError, nearest
from distill.utils.invocation import invocation


class Record:
    """A finished run's summary, and which weights of it are meant.

    Args:
        path: the run's folder, or the student's weights in it (``student.safetensors``, ``student-best.safetensors``).

    Attributes:
        folder: the run's folder.
        report: what ``summary.json`` holds.
        config: the run's configuration, resolved.
        weights: the student's file.

    Raises:
        UserError: no such folder, or no finished run in it; a summary that is not ours; weights that are missing,
            cut short, or not the student's.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        if not path.exists():
            raise UserError(f"run {path} does not exist{_neighbours(path)}")
        self.folder = path if path.is_dir() else path.parent
        self.report: dict[str, Any] = _read(self.folder, path)
        try:
            self.config: dict[str, Any] = self.report["config"]
            self.classes = tuple(str(name) for name in self.report["data"]["class_names"])
            self.view: dict[str, Any] = self.report["data"]["preprocess"]
        except (KeyError, TypeError) as error:
            raise not_ours(self.folder, error) from error
        if "student" not in self.report:
            raise UserError(f"run {self.folder} trained a teacher only (only=teacher): it has no student")
        self.weights = path if path.is_file() else self.folder / self.report["student"]["last"]["weights"]
        if not self.weights.is_file():
            raise UserError(f"run {self.folder} has no {self.weights.name}: the student's weights are missing")
        if self.weights.suffix != ".safetensors":
            raise UserError(f"{self.weights} is no weights file of the run; {_known(self.folder, self.weights)}")
        try:
            with safe_open(self.weights, framework="np"):
                pass
        except (SafetensorError, OSError) as error:
            raise UserError(f"checkpoint {self.weights} is no readable safetensors file: {error}") from error

    @property
    def roles(self) -> list[str]:
        """The models of the run: "teacher", "student", ..."""
        return roles(self.report)

    @property
    def tested(self) -> dict[str, Any]:
        """What the summary says of these weights: its entry "last" or "best", with their epoch.

        Raises:
            UserError: weights that the run did not test.
        """
        student = self.report["student"]
        found = [student[key] for key in ("last", "best") if student.get(key, {}).get("weights") == self.weights.name]
        if not found:
            raise UserError(
                f"{self.weights} holds no student that the run tested: give one of its student*.safetensors"
            )
        entry: dict[str, Any] = found[0]
        return entry

    def check_beside(self, other: "Record") -> None:
        """Refuses a run to compare with (``against=``) whose student answers other questions.

        Raises:
            UserError: the run itself, other classes, another view of the images.
        """
        if other.weights.resolve() == self.weights.resolve():
            raise UserError("against= is the run itself: name the run of another student, as the one trained alone")
        if other.classes != self.classes:
            raise UserError(f"against: the classes of {other.folder} are not those of the run")
        if other.view != self.view:
            raise UserError(f"against: {other.folder} saw its images in another size or normalisation than the run")


def not_ours(folder: Path, error: Exception) -> UserError:
    """The error of a summary that lacks what it must hold."""
    return UserError(f"{folder / 'summary.json'} is not what a run of this version wrote: {error}")


def _read(folder: Path, given: Path) -> dict[str, Any]:
    summary = folder / "summary.json"
    if not summary.is_file():
        if (folder / "config.yaml").is_file():
            again = f"{invocation('train')} resume={folder}"
            raise UserError(f"run {folder} is not finished (no summary.json): continue it with {again}")
        above = folder.parent
        if folder.name == "checkpoints" and (above / "summary.json").is_file():
            raise UserError(f"{given} is there to resume from; {_known(above, given)}")
        raise UserError(f"{folder} is no run's folder: it has no summary.json")
    try:
        report: dict[str, Any] = json.loads(summary.read_text())
    except (ValueError, UnicodeDecodeError) as error:
        raise not_ours(folder, error) from error
    return report


def _known(folder: Path, given: Path) -> str:
    """The weights files of a run, the nearest first."""
    return nearest(given.name, [str(p) for p in sorted(folder.glob("*.safetensors"))])


def _neighbours(path: Path) -> str:
    """The nearest folders beside a path that does not exist."""
    names = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else []
    return f"; {nearest(path.name, names)}" if names else ""
