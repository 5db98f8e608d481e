"""The contents of ``export.json``."""

from dataclasses import asdict, dataclass
from typing import Any

from distill.export.latency import Timing


@dataclass(kw_only=True)
class Row:
    """A model in the table; see :class:`distill.export.parity.Parity` for its comparison with the student in PyTorch.

    Attributes:
        model: role and format.
        file: name of the file; None: it is not kept.
        bytes: size of the weights or the file.
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
    """The contents of ``export.json``; paths are not absolute.

    Attributes:
        weights: name of the weights file.
        against: folder of the other run in the table.
        tolerance: largest allowed difference of a logit in float32.
        max_accuracy_drop: largest allowed loss of accuracy in int8, as a share.
        preprocess: "embedded" or "described".
        calibration: method and number of images of int8.
        tested: the run's own test of these weights: accuracy, precision, epoch.
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
        """The JSON object; a row without measured speed has no key ``speed``."""
        node = asdict(self)
        for row in node["rows"]:
            if row["speed"] is None:
                del row["speed"]
        return node
