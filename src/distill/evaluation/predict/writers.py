"""Predictions as CSV or JSON. What cannot be read gives a prediction with an error."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from distill.evaluation.predictor import Predictor

Answers = list[dict[str, Any]]
MISSING = "-"  # in CSV, the tag of a word that the model did not see


@dataclass(frozen=True)
class Prediction:
    """The prediction for one sample, or why there is none.

    Attributes:
        sample: what it is for: its ``file``, of a text also its ``line`` and the ``text``.
        answers: the likeliest classes, each with its ``probability``; a ``tag`` for each ``word``; or one object with
            the values of another task, see :meth:`distill.tasks.base.Task.decode`.
    """

    sample: Mapping[str, Any]
    answers: Answers = ()  # type: ignore[assignment]
    error: str | None = None

    @property
    def place(self) -> str:
        """``"photos/1.png"``, ``"in.jsonl:7"``."""
        line = self.sample.get("line")
        return f"{self.sample['file']}" + ("" if line is None else f":{line}")


def answers(predictor: "Predictor", outputs: "Tensor", top: int) -> list[Answers]:
    """The answers that outputs (N, C) are, of a classifier ``top`` classes each."""
    classes = predictor.classes
    if not predictor.task.has_classes:
        return [[each] for each in predictor.task.decode(outputs, classes)]
    values, best = outputs.softmax(1).topk(top)
    pairs = zip(values.tolist(), best.tolist(), strict=True)
    return [[{"class": classes[i], "probability": p} for p, i in zip(*row, strict=True)] for row in pairs]


class CSVWriter:
    """A line per prediction: the sample, the answers, ``error``.

    Args:
        file: opened with ``newline=""``.
        sample: columns of the sample.
        columns: of the answers.
        cells: of answers their cells; fewer than columns are filled up.
    """

    def __init__(
        self, file: IO[str], sample: Sequence[str], columns: Sequence[str], cells: Callable[[Answers], list[str]]
    ) -> None:
        self.sample, self.columns, self.cells = sample, columns, cells
        self.writer = csv.writer(file, lineterminator="\n")
        self.writer.writerow([*sample, *columns, "error"])

    @classmethod
    def of_classes(cls, file: IO[str], sample: Sequence[str], top: int) -> "CSVWriter":
        """Columns ``class``, ``probability`` (``class_2``, ``probability_2``, ...)."""
        ends = ["", *(f"_{i}" for i in range(2, top + 1))]
        columns = [name + end for end in ends for name in ("class", "probability")]
        return cls(
            file, sample, columns, lambda found: [c for e in found for c in (e["class"], _cell(e["probability"]))]
        )

    @classmethod
    def of_values(cls, file: IO[str], sample: Sequence[str], names: Sequence[str]) -> "CSVWriter":
        """A column per value; several labels are joined by ``|``."""
        return cls(file, sample, names, lambda found: [_short(found[0].get(name)) for name in names] if found else [])

    @classmethod
    def of_tags(cls, file: IO[str], sample: Sequence[str]) -> "CSVWriter":
        """A column ``tags``, with a blank between two; ``-`` of a word behind the place where a text is cut."""
        return cls(file, sample, ["tags"], lambda found: [" ".join(each["tag"] or MISSING for each in found)])

    @classmethod
    def of_continuations(cls, file: IO[str], sample: Sequence[str]) -> "CSVWriter":
        """A column ``continuation``."""
        return cls(file, sample, ["continuation"], lambda found: [each["continuation"] for each in found])

    def write(self, prediction: Prediction) -> None:
        """One line."""
        cells = self.cells(prediction.answers)
        sample = ["" if prediction.sample.get(name) is None else prediction.sample[name] for name in self.sample]
        self.writer.writerow([*sample, *cells, *[""] * (len(self.columns) - len(cells)), prediction.error or ""])

    def close(self) -> None:
        """Nothing."""


def _cell(value: float) -> str:
    return f"{value:.6f}"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return "|".join(value)
    return "" if value is None else f"{value:.6g}"


class JSONWriter:
    """A list of ``{"file", ..., "predictions": [...]}`` or ``{"file", ..., "error"}``, one per line."""

    def __init__(self, file: IO[str]) -> None:
        self.file = file
        self.separator = "[\n"

    def write(self, prediction: Prediction) -> None:
        """One line."""
        found = [
            {k: round(v, 6) if isinstance(v, float) else v for k, v in each.items()} for each in prediction.answers
        ]
        result = {"error": prediction.error} if prediction.error else {"predictions": found}
        entry = {**prediction.sample, **result}
        text = json.dumps(entry, ensure_ascii=False)
        if text != text.encode(errors="ignore").decode():  # a file name that is not valid UTF-8
            text = json.dumps(entry)
        self.file.write(self.separator + text)
        self.separator = ",\n"

    def close(self) -> None:
        """The end of the list."""
        self.file.write(("[" if self.separator == "[\n" else "") + "\n]\n")
