"""Predictions for image files. A file that cannot be read gives a prediction with an error."""

import csv
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from distill.utils.errors import UserError, one_line
from distill.utils.files import image_suffixes, list_files, open_file

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from torch import Tensor

    from distill.evaluation.runs import Predictor


@dataclass(frozen=True)
class Prediction:
    """The prediction for one file: classes with probabilities, the likeliest first, or why there are none.

    ``values`` are those of another task than classification, by name; see :meth:`distill.tasks.base.Task.decode`.
    """

    file: str
    classes: tuple[tuple[str, float], ...] = ()
    values: Mapping[str, Any] | None = None
    error: str | None = None


class CSVWriter:
    """Columns ``file``, ``class``, ``probability`` (``class_2``, ``probability_2``, ...), ``error``."""

    def __init__(self, file: IO[str], top: int) -> None:
        self.top = top
        self.writer = csv.writer(file, lineterminator="\n")
        ends = [""] + [f"_{i}" for i in range(2, top + 1)]
        self.writer.writerow(["file", *(name + end for end in ends for name in ("class", "probability")), "error"])

    def write(self, prediction: Prediction) -> None:
        cells = [cell for name, p in prediction.classes for cell in (name, f"{p:.6f}")]
        self.writer.writerow([prediction.file, *cells, *[""] * (2 * self.top - len(cells)), prediction.error or ""])

    def close(self) -> None: ...


class ValuesCSVWriter:
    """Columns ``file``, one per value, ``error``; several labels are joined by ``|``."""

    def __init__(self, file: IO[str], names: Sequence[str]) -> None:
        self.names = list(names)
        self.writer = csv.writer(file, lineterminator="\n")
        self.writer.writerow(["file", *self.names, "error"])

    def write(self, prediction: Prediction) -> None:
        values = prediction.values or {}
        cells = [_cell(values.get(name)) for name in self.names]
        self.writer.writerow([prediction.file, *cells, prediction.error or ""])

    def close(self) -> None: ...


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return "|".join(value)
    return "" if value is None else f"{value:.6g}"


class JSONWriter:
    """A list of ``{"file", "predictions": [{"class", "probability"}]}`` or ``{"file", "error"}``, one per line.

    Of another task than classification ``predictions`` holds one object with its values.
    """

    def __init__(self, file: IO[str]) -> None:
        self.file = file
        self.separator = "[\n"

    def write(self, prediction: Prediction) -> None:
        predictions: list[Any] = [{"class": name, "probability": round(p, 6)} for name, p in prediction.classes]
        if prediction.values is not None:
            rounded = {k: round(v, 6) if isinstance(v, float) else v for k, v in prediction.values.items()}
            predictions = [rounded]
        result = {"error": prediction.error} if prediction.error else {"predictions": predictions}
        entry = {"file": prediction.file, **result}
        text = json.dumps(entry, ensure_ascii=False)
        if text != text.encode(errors="ignore").decode():  # a file name that is not valid UTF-8
            text = json.dumps(entry)
        self.file.write(self.separator + text)
        self.separator = ",\n"

    def close(self) -> None:
        self.file.write(("[" if self.separator == "[\n" else "") + "\n]\n")


def list_images(arguments: Iterable[str], lines: Iterable[str]) -> list[str]:
    """The paths of all files that the arguments name.

    Args:
        arguments: files, folders, "-".
        lines: of stdin, read where "-" is given.

    Raises:
        UserError: there is none.
    """
    suffixes = image_suffixes()
    paths: list[str] = []
    for name in arguments:
        if name == "-":
            paths += [line.rstrip("\r\n") for line in lines if line.strip()]
        elif Path(name).is_dir():
            inside = sorted(str(Path(name, file.name)) for file in list_files(Path(name), suffixes))
            if not inside:
                log.warning(f"{name}: no images in this folder")
            paths += inside
        else:
            paths.append(name)
    if not any(map(os.path.exists, paths)):
        if not arguments:
            raise UserError("no images given: name files, folders, or - for stdin")
        names = ", ".join((paths or list(arguments))[:3]) + (", ..." if len(paths) > 3 else "")
        raise UserError(f"no images found in {names}")
    return paths


def _decode(path: str, predictor: "Predictor") -> "Tensor | str":
    """The preprocessed image (C, H, W), or in one line why it cannot be read."""
    from PIL import UnidentifiedImageError

    from distill.data.vision.images import open_image

    try:
        with open_file(path) as file, open_image(file) as image:
            decoded: Tensor = predictor.preprocess(image)
            return decoded
    except UnidentifiedImageError:
        return "not an image that Pillow can read"
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ...
        return one_line(error)


def predict_files(
    predictor: "Predictor", files: list[str], top: int, batch_size: int, threads: int
) -> Iterator[Prediction]:
    """One prediction per file, in order; while one batch is classified, the next one is decoded.

    Args:
        predictor: see :func:`distill.load`.
        files: their paths.
        top: classes per prediction.
        batch_size: images per forward.
        threads: number that decode.
    """
    batches = [files[start : start + batch_size] for start in range(0, max(len(files), 1), batch_size)]
    with ThreadPoolExecutor(threads) as pool:
        following = [pool.submit(_decode, file, predictor) for file in batches[0]]
        for batch, next_batch in zip(batches, [*batches[1:], []], strict=True):
            current, following = following, [pool.submit(_decode, file, predictor) for file in next_batch]
            yield from _classify(predictor, batch, [future.result() for future in current], top)


def _classify(predictor: "Predictor", files: list[str], images: "list[Tensor | str]", top: int) -> Iterator[Prediction]:
    import torch

    decoded = [image for image in images if not isinstance(image, str)]
    rows: Iterator[Any] = iter(())
    if decoded:
        device = next(predictor.model.parameters()).device
        with torch.inference_mode():
            outputs = predictor(torch.stack(decoded).to(device)).float()
        if predictor.task.has_classes:
            values, best = outputs.softmax(1).topk(top)
            rows = zip(values.tolist(), best.tolist(), strict=True)
        else:
            rows = iter(predictor.task.decode(outputs.cpu(), predictor.classes))
    for file, image in zip(files, images, strict=True):
        if isinstance(image, str):
            yield Prediction(file, error=image)
        elif not predictor.task.has_classes:
            yield Prediction(file, values=next(rows))
        else:
            values_and_classes = zip(*next(rows), strict=True)
            yield Prediction(file, tuple((predictor.classes[i], p) for p, i in values_and_classes))
