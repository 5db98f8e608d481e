"""``python predict.py``: images in, classes out. What is no image is reported, and the rest is done."""

import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from distill.cli.commands import arg
from distill.evaluation.run_folder import Record
from distill.utils.errors import UserError, first_line, nearest
from distill.utils.paths import cannot_write, file_place

if TYPE_CHECKING:
    from torch import Tensor

    from distill.evaluation.runs import Predictor

ABOUT = """Classifies images with the student of a finished run.

  python predict.py run=outputs/2026-01-31/12-00-00 images/*.jpg
  find photos -name '*.jpg' | python predict.py run=outputs/2026-01-31/12-00-00 - format=json output=found.json

Images are files, folders (searched with their subfolders), or - for a list on stdin, a path a line. A file that
cannot be read is reported on stderr and in the output; the exit status is then 3, and 0 where all were read."""

FORMATS = ("csv", "json")
SOME_FAILED = 3
MANY = 1000
DEVICES = ("auto", "cpu", "cuda")
NAMES = "surrogateescape"  # file names that are no UTF-8 come out with their own bytes


@dataclass
class Options:
    """The keys of ``predict.py``."""

    run: str = arg("a finished run's folder, or a weights file in it")
    images: list[str] = arg("files, folders, or - for a list on stdin; may be given without the key", [])
    format: str = arg("csv or json", "csv")
    output: str | None = arg("file to write; null: stdout", None)
    overwrite: bool = arg("replace that file where it exists", False)
    top: int = arg("classes named per image", 1)
    batch_size: int = arg("images per forward", 64)
    threads: int | None = arg("threads that decode images; null: one per core", None)
    device: str = arg("cpu, cuda, or auto: whichever is there", "auto")


@dataclass(frozen=True)
class Answer:
    """What is said of one file: classes with probabilities, the likeliest first, or why there are none."""

    file: str
    classes: tuple[tuple[str, float], ...] = ()
    error: str | None = None


class Writer(Protocol):
    """Takes answers one by one."""

    def write(self, answer: Answer) -> None:
        """One more."""

    def close(self) -> None:
        """No more."""


class CSVWriter:
    """Columns ``file``, ``class``, ``probability`` (``class_2``, ``probability_2``, ...), ``error``."""

    def __init__(self, file: IO[str], top: int) -> None:
        self.top = top
        self.writer = csv.writer(file, lineterminator="\n")
        ends = [""] + [f"_{i}" for i in range(2, top + 1)]
        self.writer.writerow(["file", *(name + end for end in ends for name in ("class", "probability")), "error"])

    def write(self, answer: Answer) -> None:
        """One row."""
        cells = [cell for name, p in answer.classes for cell in (name, f"{p:.6f}")]
        self.writer.writerow([answer.file, *cells, *[""] * (2 * self.top - len(cells)), answer.error or ""])

    def close(self) -> None:
        """Nothing is left to say."""


class JSONWriter:
    """A list of ``{"file", "predictions": [{"class", "probability"}]}`` or ``{"file", "error"}``, one per line."""

    def __init__(self, file: IO[str]) -> None:
        self.file = file
        self.before = "[\n"

    def write(self, answer: Answer) -> None:
        """One entry."""
        found = [{"class": name, "probability": round(p, 6)} for name, p in answer.classes]
        entry = {"file": answer.file} | ({"error": answer.error} if answer.error else {"predictions": found})
        self.file.write(self.before + _as_json(entry))
        self.before = ",\n"

    def close(self) -> None:
        """The end of the list."""
        self.file.write(("[" if self.before == "[\n" else "") + "\n]\n")


def _as_json(entry: dict[str, Any]) -> str:
    """One line; a name that is no UTF-8 is written with JSON's escapes, so that the file stays valid JSON."""
    text = json.dumps(entry, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(entry)
    return text


def listed(given: Iterable[str], lines: Iterable[str]) -> list[str]:
    """Every file that is meant.

    Args:
        given: files, folders, "-".
        lines: of stdin, read where "-" is given.

    Raises:
        UserError: there is none.
    """
    from PIL import Image

    kinds = tuple(Image.registered_extensions())
    found: list[str] = []
    for name in given:
        if name == "-":
            found += [line.rstrip("\r\n") for line in lines if line.strip()]
        elif Path(name).is_dir():
            inside = sorted(str(path) for path in Path(name).rglob("*") if path.suffix.lower() in kinds)
            if not inside:
                print(f"warning: {name}: no images in this folder", file=sys.stderr, flush=True)
            found += inside
        else:
            found.append(name)
    if not any(map(os.path.exists, found)):
        what = ", ".join(list(given)[:3]) if not found else ", ".join(found[:3]) + ("" if len(found) < 4 else ", ...")
        raise UserError(
            f"no images found in {what}" if given else "no images given: name files, folders, or - for stdin"
        )
    return found


def _decoded(path: str, predictor: "Predictor") -> "Tensor | str":
    """The image as the model takes it, or why not, in one line."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return predictor.preprocess(image)
    except UnidentifiedImageError:
        return "not an image that Pillow can read"
    except OSError as error:
        return error.strerror.lower() if error.strerror else first_line(error)
    except Exception as error:  # Pillow's decoders raise SyntaxError, ValueError, struct.error, ...
        return first_line(error)


def answers(predictor: "Predictor", files: list[str], top: int, batch_size: int, threads: int) -> Iterator[Answer]:
    """One answer per file, in order; while one batch is classified, the next one is decoded.

    Args:
        predictor: what ``distill.load`` gives.
        files: paths.
        top: classes per answer.
        batch_size: images per forward.
        threads: that decode.
    """
    parts = [files[start : start + batch_size] for start in range(0, len(files), batch_size)]
    with ThreadPoolExecutor(threads) as pool:
        futures = [[pool.submit(_decoded, file, predictor) for file in part] for part in parts[:1]]
        for i, part in enumerate(parts):
            if i + 1 < len(parts):
                futures.append([pool.submit(_decoded, file, predictor) for file in parts[i + 1]])
            images = [future.result() for future in futures.pop(0)]
            yield from _classified(predictor, part, images, top)


def _classified(predictor: "Predictor", files: list[str], images: "list[Tensor | str]", top: int) -> Iterator[Answer]:
    import torch

    good = [image for image in images if not isinstance(image, str)]
    rows: Iterator[Any] = iter(())
    if good:
        device = next(predictor.model.parameters()).device
        with torch.inference_mode():
            values, best = predictor(torch.stack(good).to(device)).float().softmax(1).topk(top)
        rows = zip(values.tolist(), best.tolist(), strict=True)
    for file, image in zip(files, images, strict=True):
        if isinstance(image, str):
            yield Answer(file, error=image)
        else:
            found = zip(*next(rows), strict=True)
            yield Answer(file, tuple((predictor.classes[i], p) for p, i in found))


def check(options: Options) -> None:
    """Values that can be judged before anything heavy is imported.

    Raises:
        UserError: the first bad one.
    """
    if options.format not in FORMATS:
        raise UserError(f"format={options.format} is unknown; {nearest(options.format, FORMATS)}")
    if options.device not in DEVICES:
        raise UserError(f"device={options.device} is unknown; {nearest(options.device, DEVICES)}")
    for key in ("top", "batch_size", "threads"):
        value = getattr(options, key)
        if value is not None and value < 1:
            raise UserError(f"{key} must be at least 1, got {value}")
    if options.output:
        file_place(Path(options.output))
        if Path(options.output).exists() and not options.overwrite:
            raise UserError(f"{options.output} exists: choose another output=, or overwrite=true")


def _device(asked: str) -> str:
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available()}
    name = asked if asked != "auto" else "cuda" if there["cuda"] else "cpu"
    if not there.get(name):
        raise UserError(
            f"device={asked} is not there; {nearest(asked, ['auto', *(n for n, yes in there.items() if yes)])}"
        )
    return name


def main(options: Options) -> int:
    """Classifies all; the exit status is 3 where some files could not be read, else 0."""
    check(options)
    record = Record(options.run)
    if options.top > len(record.classes):
        raise UserError(f"top={options.top}: the model knows {len(record.classes)} classes")
    files = listed(options.images, map(os.fsdecode, sys.stdin.buffer))  # names of any bytes, as in arguments
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=NAMES)
    import distill
    from distill.utils.cpu import usable_cores

    predictor = distill.load(options.run)
    predictor.to(_device(options.device))
    failed = 0
    with ExitStack() as stack:
        file = stack.enter_context(_opened(Path(options.output))) if options.output else sys.stdout
        writer: Writer = CSVWriter(file, options.top) if options.format == "csv" else JSONWriter(file)
        found = answers(predictor, files, options.top, options.batch_size, options.threads or usable_cores())
        for answer in _with_bar(found, len(files), stack):
            writer.write(answer)
            if answer.error:
                failed += 1
                print(f"warning: {answer.file}: {answer.error}", file=sys.stderr)
        writer.close()
    if failed:
        print(f"{failed} of {len(files)} files could not be read", file=sys.stderr, flush=True)
    return SOME_FAILED if failed else 0


@contextmanager
def _opened(output: Path) -> Iterator[IO[str]]:
    """A text file that appears whole or not at all; its folder is made."""
    part = output.with_name(output.name + ".part")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        file = part.open("w", newline="", encoding="utf-8", errors=NAMES)
    except OSError as error:
        raise cannot_write(output, error) from error
    try:
        with file:
            yield file
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)


def _with_bar(found: Iterator[Answer], total: int, stack: ExitStack) -> Iterator[Answer]:
    """The answers, with a progress bar on stderr where there are many and somebody looks."""
    if total < MANY or not sys.stderr.isatty():
        return found
    from rich.console import Console
    from rich.progress import Progress

    bar = stack.enter_context(Progress(console=Console(stderr=True), transient=True))
    return iter(bar.track(found, total=total, description="images"))
