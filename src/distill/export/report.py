"""The contents of ``export.json``."""

from dataclasses import asdict, dataclass
from typing import Any

from distill.export.latency import Timing
from distill.export.parity import Parity
from distill.tasks.info import Metric
from distill.utils.measurements import Hardware


@dataclass(frozen=True, kw_only=True)
class Row(Parity):
    """A model in the table, compared with the student in PyTorch.

    Attributes:
        model: role and format.
        file: name of the file; None: it is not kept.
        bytes: size of the weights or the file.
        speed: None where it is not measured.
    """

    model: str
    file: str | None
    bytes: int
    speed: Timing | None = None


@dataclass(frozen=True)
class Calibration:
    """How the ranges of activations in int8 were found: the method, and the number of training images."""

    method: str
    images: int


@dataclass(frozen=True)
class RunTest:
    """The run's own test of the exported weights: the task's score, precision, epoch."""

    score: float
    precision: str
    epoch: int


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """The contents of ``export.json``; paths are not absolute.

    Attributes:
        weights: name of the weights file.
        against: folder of the other run in the table.
        tolerance: largest allowed difference of a logit in float32, relative to the largest logit where that exceeds 1.
        max_accuracy_drop: largest allowed loss of the score in int8: of a share, absolute, else relative.
        preprocess: "embedded" or "described".
        calibration: of int8; None where there is no such file.
        versions: by package.
        metric: the score of the rows.
    """

    run: str
    weights: str
    against: str | None
    command: str
    tolerance: float
    max_accuracy_drop: float
    preprocess: str
    calibration: Calibration | None
    license: str
    tested: RunTest
    rows: list[Row]
    hardware: Hardware
    versions: dict[str, str]
    metric: Metric

    @property
    def files(self) -> list[Row]:
        """The rows whose files are kept."""
        return [row for row in self.rows if row.file]

    def as_json(self) -> dict[str, Any]:
        """The JSON object; a row without measured speed has no key ``speed``."""
        node = asdict(self)
        for row in node["rows"]:
            if row["speed"] is None:
                del row["speed"]
        return node
