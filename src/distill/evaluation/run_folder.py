"""A finished run's folder, read and checked without importing torch."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from distill.config.command_line import hydra_value
from distill.training.roles import Role
from distill.training.summary import FILE, EpochScores, RunSummary, StudentResult, read as read_summary, unreadable
from distill.utils import hub_runs
from distill.utils.errors import UserError, nearest, nearest_files
from distill.utils.invocation import invocation
from distill.utils.run_lock import check_idle


class RunFolder:
    """A finished run's summary and the file of its student's weights.

    Args:
        path: the run's folder, or the student's weights in it (``student.safetensors``, ``student-last.safetensors``),
            or a repository of ``distill push``: ``user/name``, ``user/name@revision``.

    Attributes:
        folder: the run's folder; of a repository the Hub's cache.
        repo: the repository's name; None of a folder.
        summary: the contents of ``summary.json``.
        student_result: its entry of the student.
        config: the run's configuration, resolved.
        weights: the file of the student's weights.

    Raises:
        UserError: there is no finished run; its summary cannot be read; its student's weights are missing or broken.
    """

    def __init__(self, path: str | Path) -> None:
        self.repo = str(path) if hub_runs.is_name(path) else None
        path = hub_runs.pull(self.repo) if self.repo else Path(path)
        if not path.exists():
            raise UserError(f"run {path} does not exist{nearest_files(path)}")
        self.folder = path if path.is_dir() else path.parent
        self.summary = _summary(self.folder, path)
        self.config = self.summary.config
        if not isinstance(self.summary.data.class_names, list):
            raise unreadable(self.folder / FILE, f"class_names of its data is {self.summary.data.class_names!r}")
        self.classes = tuple(map(str, self.summary.data.class_names))
        if self.summary.student is None:
            raise UserError(f"run {self.folder} trained a teacher only (only=teacher): it has no student")
        self.student_result: StudentResult = self.summary.student
        self.weights = path if path.is_file() else self.file(self.student_result.kept.weights)
        if not self.weights.is_file():
            raise UserError(f"run {self.folder} has no {self.weights.name}: the student's weights are missing")
        if self.weights.suffix != ".safetensors":
            raise UserError(
                f"{self.weights} is no weights file of the run; {_nearest_weights(self.folder, self.weights)}"
            )
        try:
            with safe_open(self.weights, framework="np"):
                pass
        except (SafetensorError, OSError) as error:
            raise UserError(f"checkpoint {self.weights} is no readable safetensors file: {error}") from error

    def file(self, *names: str) -> Path:
        """A file in the folder that its summary names.

        Raises:
            UserError: a name that leads elsewhere: the summary may be somebody else's.
        """
        if any(not isinstance(name, str) or name in (".", "..") or Path(name).name != name for name in names):
            raise UserError(f"{self.folder / FILE} names a file outside of its folder: {'/'.join(map(str, names))}")
        return self.folder.joinpath(*names)

    def results_folder(self, output: str | None) -> Path:
        """Where results go: ``output``, or the run's folder.

        Raises:
            UserError: neither, as the run is in the Hub's cache.
        """
        if output is None and self.repo:
            raise UserError(f"run={self.repo} is on the Hugging Face Hub: name a folder for the results, output=")
        return Path(output) if output else self.folder

    @property
    def of_texts(self) -> bool:
        """Whether its samples are texts."""
        preprocess = self.summary.data.preprocess
        return isinstance(preprocess, dict) and preprocess.get("kind") == "text"

    @property
    def roles(self) -> list[Role]:
        """The roles of the run's models."""
        return list(self.summary.models)

    @property
    def tested(self) -> EpochScores:
        """The scores of these weights in the run's own test: the summary's entry "last" or "best".

        Raises:
            UserError: weights that the run did not test.
        """
        for scores in (self.student_result.kept, self.student_result.last, self.student_result.best):
            if scores is not None and scores.weights == self.weights.name:
                return scores
        raise UserError(f"{self.weights} holds no student that the run tested: give one of its student*.safetensors")

    def check_comparable(self, other: "RunFolder") -> None:
        """Checks that the student of a run to compare with (``against=``) has the same classes and inputs.

        Raises:
            UserError: the run itself, other classes, other preprocessing.
        """
        if other.weights.resolve() == self.weights.resolve():
            raise UserError("against= is the run itself: name the run of another student, as the one trained alone")
        if other.classes != self.classes:
            raise UserError(f"against: the classes of {other.folder} are not those of the run")
        if other.summary.data.preprocess != self.summary.data.preprocess:
            is_text = self.summary.data.preprocess.get("kind") == "text"
            what = "texts with another tokenizer or length" if is_text else "images in another size or normalisation"
            raise UserError(f"against: {other.folder} saw its {what} than the run")


def _summary(folder: Path, path: Path) -> RunSummary:
    if not (folder / FILE).is_file():
        if (folder / "config.yaml").is_file():
            check_idle(folder)
            command = invocation("train", f"resume={hydra_value(str(folder))}")
            raise UserError(f"run {folder} is not finished (no summary.json): continue it with {command}")
        if folder.name == "checkpoints" and (folder.parent / FILE).is_file():
            raise UserError(f"{path} is there to resume from; {_nearest_weights(folder.parent, path)}")
        raise UserError(f"{folder} is no run's folder: it has no summary.json")
    return read_summary(folder)


def _nearest_weights(folder: Path, path: Path) -> str:
    """The weights files of a run, the nearest to ``path`` first."""
    return nearest(path.name, [str(p) for p in sorted(folder.glob("*.safetensors"))])
