"""The contents of ``evaluation.json`` as typed records; imports neither torch nor Lightning."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from distill.tasks.info import CLASSIFICATION, TaskInfo
from distill.training.roles import Role
from distill.utils import checked
from distill.utils.errors import UserError
from distill.utils.measurements import Hardware, Size, Speed


@dataclass(frozen=True)
class ReliabilityBin:
    """Samples whose confidence lies in [low, high): their number, mean confidence, accuracy (None where empty)."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class ClassificationScores:
    """Scores of one model on one split.

    Attributes:
        acc, top5, macro_f1, ece: in [0, 1]; ``top5`` is None where C ≤ 5.
        nll: in nats per sample.
        brier: in [0, 2].
        per_class: accuracy by class; None for a class without samples.
        confusion: counts; rows are true classes, columns predictions.
        reliability: the bins of the reliability diagram.
        matthews: Matthews' correlation coefficient in [-1, 1]; None where the task does not ask for it.
    """

    acc: float
    top5: float | None
    macro_f1: float
    nll: float
    brier: float
    ece: float
    per_class: list[float | None]
    confusion: list[list[int]]
    reliability: list[ReliabilityBin]
    matthews: float | None = None


@dataclass(frozen=True)
class MetricScores:
    """Scores of one model in a task whose outputs are labels or numbers.

    Attributes:
        metrics: those of the task that need no other model, by name.
        by_output: by label of a metric of single outputs its values, in the order of the outputs.
        by_entity: by type of entity its "f1", "precision", "recall" and "support"; {}: there are none.
    """

    metrics: dict[str, float]
    by_output: dict[str, list[float]]
    by_entity: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class MetricComparison:
    """The student compared with another model by the task's own ``metrics`` for that, by name."""

    metrics: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """The JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class EvaluatedModel:
    """A model's scores, and its size and speed as its run measured them (None: not comparable, or not measured)."""

    name: str
    scores: Any  # ClassificationScores, or MetricScores of another task
    size: Size | None
    speed: Speed | None

    def as_json(self) -> dict[str, Any]:
        """The JSON object; size and speed share the object ``measured``."""
        speed = asdict(self.speed) if self.speed else dict.fromkeys(Speed.__dataclass_fields__)
        measured = {**asdict(self.size), **speed} if self.size else None
        return {"name": self.name, **asdict(self.scores), "measured": measured}


@dataclass(frozen=True)
class Count:
    """A number of samples, and their share of all."""

    count: int
    share: float


@dataclass(frozen=True)
class ClassChange:
    """Accuracy on one class of the student and of another model; ``change`` is their difference."""

    name: str
    student: float
    other: float
    change: float


@dataclass(frozen=True)
class Comparison:
    """The student compared with another model.

    Attributes:
        agreement: the share of samples with the same prediction, in [0, 1].
        kl: mean KL(other ‖ student) at T = 1 in nats per sample.
        both_right, only_student_right, only_other_right, both_wrong: samples; their shares sum to 1.
        lost, gained: the classes whose accuracy lost and gained most, the largest change first.
    """

    agreement: float
    kl: float
    both_right: Count
    only_student_right: Count
    only_other_right: Count
    both_wrong: Count
    lost: list[ClassChange]
    gained: list[ClassChange]

    def as_json(self) -> dict[str, Any]:
        """The JSON object; the name of a class has the key ``class``."""
        changes = {
            key: [{"class" if k == "name" else k: value for k, value in vars(change).items()} for change in classes]
            for key, classes in (("lost", self.lost), ("gained", self.gained))
        }
        return asdict(self) | changes


@dataclass(frozen=True)
class Reproduction:
    """Whether the metrics equal those of the run's own test: each metric ``then`` and ``now``."""

    equal: bool
    values: dict[str, dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class EvaluationResults:
    """One evaluation.

    Attributes:
        run, weights, epoch: folder, file and epoch of the evaluated student.
        root: of other data than the run's, the file or folder; None: there is none.
        against: the folder of the run to compare with.
        reproduced: None where the run's own test had other images or batches.
        models: in the order in which they are shown.
        comparisons: of the student with each other model, a Comparison, or a MetricComparison of another task; in JSON
            ``versus``.
        task: whose metrics they are.
        hardest: the samples with the highest loss of the student, with every model's prediction.
    """

    run: str
    weights: str
    epoch: int
    data: str
    split: str
    samples: int
    against: str | None
    batch_size: int
    precision: str
    reproduced: Reproduction | None
    models: dict[Role, EvaluatedModel]
    comparisons: dict[Role, Any]
    classes: list[str]
    hardware: Hardware
    versions: dict[str, str]
    git_commit: str | None
    command: str
    hardest: list[dict[str, Any]]
    task: TaskInfo = CLASSIFICATION
    root: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The JSON object."""
        facts = asdict(replace(self, models={}, comparisons={}))
        node = {"versus" if key == "comparisons" else key: value for key, value in facts.items()}
        node["models"] = {str(role): model.as_json() for role, model in self.models.items()}
        node["versus"] = {str(role): comparison.as_json() for role, comparison in self.comparisons.items()}
        return node


@dataclass(frozen=True)
class Calibration:
    """Expected calibration error, and negative log-likelihood in nats per sample."""

    ece: float
    nll: float


def read_calibration(folder: Path) -> Calibration | None:
    """The student's calibration from the ``evaluation.json`` of a run's test; None where there is no such file.

    Raises:
        UserError: the file is not what ``evaluate.py`` wrote.
    """
    path = folder / "evaluation.json"
    if not path.is_file():
        return None
    try:
        student = checked.parse(path)["models"]["student"]
        if "metrics" in student:  # of another task than classification
            return None
        return Calibration(student["ece"], student["nll"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not what evaluate.py wrote: {error}; run it again with overwrite=true") from error
