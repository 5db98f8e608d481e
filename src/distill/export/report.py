"""What an export measured: ``export.json``."""

from dataclasses import asdict, dataclass
from typing import Any

from distill.export.latency import Timing


@dataclass(kw_only=True)
class Row:
    """A model of the table.

    Attributes:
        model: role and format.
        file: name of the file that is kept; None: there is none.
        bytes: size of the weights or the file.
        difference: largest absolute difference of a logit from the student's in PyTorch.
        accuracy: share of the test images that it gets right, top 1.
        reference: the same of the student in PyTorch.
        agreement: share of test images with the student's first class.
        images: number of test images.
        speed: None where it is not measured.
    """

    model: str
    file: str | None
    bytes: int
    difference: float
    accuracy: float
    reference: float
    agreement: float
    images: int
    speed: Timing | None = None


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What ``export.json`` holds.

    Attributes:
        run: the run's folder, without absolute paths.
        weights: name of the weights file.
        against: folder of the other run in the table.
        command: that exported.
        tolerance: largest difference of a logit in float32 that was allowed.
        max_accuracy_drop: largest loss of accuracy in int8 that was allowed.
        preprocess: "embedded" or "described".
        calibration: method and number of images of int8.
        license: of the model card.
        tested: the run's own test of these weights: accuracy, precision, epoch.
        rows: a row per model.
        hardware: see ``environment.hardware``.
        versions: by package.
    """

    run: str
    weights: str
    against: str | None
    command: str
    tolerance: float
    max_accuracy_drop: float
    preprocess: str
    calibration: dict[str, Any] | None
    license: str
    tested: dict[str, Any]
    rows: list[Row]
    hardware: dict[str, Any]
    versions: dict[str, str]

    @property
    def files(self) -> list[Row]:
        """The rows whose files are kept."""
        return [row for row in self.rows if row.file]

    def as_json(self) -> dict[str, Any]:
        """A row without measured speed has none."""
        rows = [{key: v for key, v in asdict(row).items() if (key, v) != ("speed", None)} for row in self.rows]
        return asdict(self) | {"rows": rows}
