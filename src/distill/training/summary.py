"""``summary.json``: the results of a run as typed records. Nothing heavy is imported here."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from distill.config.schema import KDConfig, TermConfig, from_node
from distill.tasks.info import CLASSIFICATION, Metric, TaskInfo
from distill.training.data_info import DataInfo as DataInfo
from distill.training.roles import STUDENT, TEACHER, Role, RoleKind
from distill.utils import checked
from distill.utils.errors import UserError
from distill.utils.measurements import Hardware, Size, Speed

FILE = "summary.json"
STUDENT_WEIGHTS = "student.safetensors"
SCHEMA_VERSION = 1
T = TypeVar("T")


class Scores(dict[str, float]):
    """Metrics and loss terms on one split, by name; shares in [0, 1], losses in nats per sample."""


@dataclass(frozen=True)
class EpochScores:
    """A student after one epoch.

    Attributes:
        epoch: counted from 1.
        weights: the file that holds the weights, in the folder of the student's training.
        val, test: its scores on the two splits.
        int8: by split, with int8 fake quantisation; None where the run did not train for int8.
    """

    epoch: int
    weights: str
    val: Scores
    test: Scores
    int8: dict[str, Scores] | None = None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A model's name, size and speed."""

    name: str
    size: Size
    speed: Speed


@dataclass(frozen=True, kw_only=True)
class TeacherResult(Measured):
    """A teacher: the ``origin`` of its weights (see ``ORIGINS``), the ``path`` of their file, its scores."""

    origin: str
    path: str | None
    val: Scores
    test: Scores


@dataclass(frozen=True, kw_only=True)
class StudentResult(Measured):
    """A student, after its last epoch and after the best one on validation.

    Attributes:
        train: running means of the last training epoch; None of a peer.
        last: after the last epoch.
        best: after the best epoch on validation; None where no checkpoint of it was kept.
        partial_train: whether ``train`` covers only the rest of an epoch within which the run was resumed.
        teacher_cache: of each cached teacher: epochs ``begun``, those ``found`` in the cache, ``drift``, ``folder``.
    """

    train: Scores | None = None
    last: EpochScores
    partial_train: bool = False
    best: EpochScores | None = None
    teacher_cache: tuple[Mapping[str, Any], ...] = ()

    @property
    def kept(self) -> EpochScores:
        """The epoch whose weights are the run's result (``load_best_model_at_end``)."""
        return self.best if self.best is not None and self.best.weights == STUDENT_WEIGHTS else self.last

    @property
    def val(self) -> Scores:
        return self.kept.val

    @property
    def test(self) -> Scores:
        return self.kept.test


ModelResult = TeacherResult | StudentResult


@dataclass(frozen=True)
class Ratios:
    """Student and teacher: the test score relative to the teacher's; how many times smaller (three sizes) and faster.

    Of a score that is better when smaller the ratio is the teacher's by the student's.
    """

    score_relative_to_teacher: float
    parameters: float
    macs: float
    bytes: float
    latency: float
    throughput: float

    @classmethod
    def of(cls, student: StudentResult, teacher: TeacherResult, score: Metric) -> "Ratios":
        mine, theirs = student.test[score.name], teacher.test[score.name]
        return cls(
            score_relative_to_teacher=score.relative(mine, theirs),
            parameters=teacher.size.parameters / student.size.parameters,
            macs=teacher.size.macs / max(student.size.macs, 1),
            bytes=teacher.size.bytes / student.size.bytes,
            latency=teacher.speed.latency_ms / student.speed.latency_ms,
            throughput=student.speed.throughput / teacher.speed.throughput,
        )


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """The results of a finished run.

    Attributes:
        models: every model of the run, in the order of their roles.
        wall_s: seconds, of the last process that continued the run.
        git_commit: of this project's checkout, with ``-dirty`` where files differ; None outside of one.
        config: the composed configuration.
        task: the metrics, and the one that chooses.
    """

    models: dict[Role, ModelResult]
    data: DataInfo
    seed: int
    precision: str
    wall_s: float
    resumed: bool
    versions: dict[str, str]
    hardware: Hardware
    git_commit: str | None
    command: str
    config: dict[str, Any]
    task: TaskInfo = CLASSIFICATION

    @property
    def val_score(self) -> float:
        """The task's score on validation of what the run is about; NaN where it was not validated."""
        return self.subject.val.get(self.task.score, math.nan)

    @property
    def kd(self) -> KDConfig:
        """The node ``kd`` of the configuration."""
        node = dict(self.config.get("kd") or {})
        terms = {name: from_node(TermConfig, term) for name, term in (node.get("terms") or {}).items()}
        return from_node(KDConfig, node | {"terms": terms})

    @property
    def student(self) -> StudentResult | None:
        """The student; None where only teachers were trained."""
        result = self.models.get(STUDENT)
        return result if isinstance(result, StudentResult) else None

    @property
    def teacher(self) -> TeacherResult | None:
        """The first teacher; None where there is none."""
        result = self.models.get(TEACHER)
        return result if isinstance(result, TeacherResult) else None

    @property
    def kept_epoch(self) -> str:
        """Which epoch's weights the run kept, in words."""
        return "best epoch on validation" if self.config.get("load_best_model_at_end") else "last epoch"

    @property
    def subject(self) -> ModelResult:
        """The student, or the first teacher where only teachers were trained."""
        return self.student or self.models[TEACHER]

    @property
    def ratios(self) -> Ratios | None:
        """None where the run has only one of student and teacher."""
        return Ratios.of(self.student, self.teacher, self.task.chooses) if self.student and self.teacher else None

    def as_json(self) -> dict[str, Any]:
        """The JSON object: the models by role, and the other fields of the run."""
        models = {str(role): _model_as_json(asdict(result)) for role, result in self.models.items()}
        rest = asdict(replace(self, models={}))
        del rest["models"]
        ratios = asdict(self.ratios) if self.ratios else None
        return {"schema_version": SCHEMA_VERSION, **models, "ratios": ratios, **rest}

    @classmethod
    def from_json(cls, node: dict[str, Any]) -> "RunSummary":
        """The summary of a JSON object of this or an earlier version.

        Raises:
            KeyError, TypeError, ValueError: the object is not a summary.
        """
        version = node.get("schema_version", 0)
        if not isinstance(version, int) or version > SCHEMA_VERSION:
            raise ValueError(f"its schema_version is {version}, and this version reads up to {SCHEMA_VERSION}")
        kinds = {str(kind) for kind in RoleKind}
        models = {Role.parse(key): _model(node[key]) for key in node if key.partition("_")[0] in kinds}
        if not models:
            raise ValueError("it holds no model")
        if not isinstance(node["config"], dict):
            raise ValueError("its config is no object")
        if version == 0:  # a term's pretraining was called its preparation
            for term in (node["config"].get("kd", {}).get("terms") or {}).values():
                if "preparation" in term:
                    term["pretraining"] = term.pop("preparation")
        data, hardware = _from_json(DataInfo, node["data"]), _from_json(Hardware, node["hardware"])
        task = TaskInfo.from_json(node["task"]) if "task" in node else CLASSIFICATION
        records = {"models": dict(sorted(models.items())), "data": data, "hardware": hardware, "task": task}
        return _from_json(cls, {**node, **records})


def kept_epochs(runs: Iterable[RunSummary]) -> str:
    """Which epoch's weights several runs kept, in words."""
    return " or ".join(sorted({run.kept_epoch for run in runs}))


def _from_json(record: type[T], node: dict[str, Any]) -> T:
    """A record from a JSON object, ignoring unknown keys."""
    known = {field.name for field in fields(record)}  # type: ignore[arg-type]
    return record(**{key: value for key, value in node.items() if key in known})


def _model(node: dict[str, Any]) -> ModelResult:
    records: dict[str, Any] = {"size": _from_json(Size, node), "speed": _from_json(Speed, node)}
    if "last" not in node:
        records |= {split: Scores(node[split]) for split in ("val", "test")}
        return _from_json(TeacherResult, node | records)
    records |= {key: _epoch_scores(node[key]) for key in ("last", "best") if node.get(key) is not None}
    records |= {"train": Scores(node["train"])} if "train" in node else {}
    return _from_json(StudentResult, node | records | {"teacher_cache": tuple(node.get("teacher_cache", ()))})


def _epoch_scores(node: dict[str, Any]) -> EpochScores:
    int8 = {split: Scores(scores) for split, scores in node["int8"].items()} if node.get("int8") else None
    return EpochScores(node["epoch"], node["weights"], Scores(node["val"]), Scores(node["test"]), int8)


def _model_as_json(node: dict[str, Any]) -> dict[str, Any]:
    """Flattens size and speed into the model; leaves out the unset fields of a student."""
    name, size, speed = node.pop("name"), node.pop("size"), node.pop("speed")
    if "last" in node:
        node = {key: value for key, value in node.items() if value not in (None, False, ())}
        for epoch in (node["last"], node.get("best", {})):
            if epoch.get("int8", 0) is None:
                del epoch["int8"]
    return {**node, "name": name, **size, **speed}


def unreadable(path: Path, reason: object) -> UserError:
    """The error for a file that is not a summary."""
    return UserError(f"{path} is not what a run of this version wrote: {reason}")


def write(summary: RunSummary, folder: Path) -> None:
    """Writes ``summary.json`` atomically, with its checksum."""
    checked.write_json(folder / FILE, summary.as_json())


def read(folder: Path) -> RunSummary:
    """The summary of the run in a folder.

    Raises:
        UserError: the file is truncated, not a summary, of a later version, or cannot be read.
    """
    path = folder / FILE
    try:
        return RunSummary.from_json(checked.parse(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise unreadable(path, f"it has no {error}" if isinstance(error, KeyError) else error) from error
