"""Local parquet files with encoded images, in the Hugging Face hub's layout or a plain one."""

import glob
import hashlib
import io
import logging
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from distill.data.sources import columns
from distill.data.splits import Splits
from distill.data.vision.images import EncodedImages
from distill.utils.errors import UserError

log = logging.getLogger(__name__)

Files = str | Path | Sequence[str | Path]


class ParquetImages(EncodedImages):
    """Encoded images in arrow columns, held in memory as they are and decoded one by one.

    Args:
        files: the tables' paths.
        tables: of each, the image column as a pyarrow ChunkedArray: binary, or struct of bytes and path.
        channels: 1 or 3.
    """

    def __init__(self, files: Sequence[Path], tables: Sequence[Any], channels: int) -> None:
        self.channels = channels
        self._chunks: list[Any] = []
        self._starts: list[int] = []  # of each chunk, in rows of all files
        self._origin: list[tuple[Path, int]] = []  # of each chunk: its file, and where in all rows the file begins
        begin = 0
        for file, table in zip(files, tables, strict=True):
            first = begin
            for chunk in table.chunks:
                self._chunks.append(chunk)
                self._starts.append(begin)
                self._origin.append((file, first))
                begin += len(chunk)

    def name(self, row: int) -> str:
        """The row's number in its file."""
        file, first = self._origin[bisect_right(self._starts, row) - 1]
        return f"row {row - first} of {file.name}"

    def open(self, row: int) -> BinaryIO:
        """The row's bytes, or the file beside the table that it names."""
        place = bisect_right(self._starts, row) - 1
        value = self._chunks[place][row - self._starts[place]].as_py()
        content, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
        if content is not None:
            return io.BytesIO(content)
        if path is not None:
            beside: Path = self._origin[place][0].parent / path
            return beside.open("rb")
        raise ValueError("it is null")

    def identity(self, rows: Tensor) -> bytes:
        """A digest of the encoded bytes."""
        hasher = hashlib.sha256()
        for row in rows.tolist():
            try:
                with self.open(row) as file:
                    content = file.read()
            except (OSError, ValueError):
                content = b""
            hasher.update(len(content).to_bytes(8, "big") + content)
        return hasher.digest()


def parquet(
    train: Files,
    test: Files | None = None,
    val: Files | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    channels: int = 3,
) -> Splits:
    """Images from parquet files.

    Args:
        train: path or glob pattern, or several.
        test: likewise; None, or a pattern that matches nothing: carved out of ``train``.
        val: likewise.
        image_column: struct of bytes and path, or binary; None: found by its usual names or its type.
        label_column: whole numbers, or text; None: found likewise.
        channels: 3 (RGB) or 1 (grey).

    Raises:
        UserError: for missing files, columns that are not there, a null label, or text that is no class.
    """
    if channels not in (1, 3):
        raise UserError(f"data.source.channels must be 1 or 3, got {channels}")
    read = {}
    for name, given in (("train", train), ("val", val), ("test", test)):
        files = _files(given, name)
        if files:
            read[name] = _read(files, image_column, label_column, channels)
    _, values, classes = read["train"]
    if classes is None:
        classes = columns.text_classes(values)
    for images, values, _ in read.values():
        images.labels = columns.numbers(values, classes, images.name)
    return Splits(**{name: images for name, (images, _, _) in read.items()}, classes=classes)


def _files(given: Files | None, name: str) -> list[Path]:
    patterns = [] if given is None else [given] if isinstance(given, str | Path) else list(given)
    found: list[Path] = []
    for pattern in map(str, patterns):
        matches = sorted(Path(match) for match in glob.glob(pattern, recursive=True))  # noqa: PTH207 - absolute patterns
        if not matches and (name == "train" or not glob.has_magic(pattern)):
            raise UserError(
                f"no parquet file matches data.source.{name}={pattern} (looked in {Path(pattern).parent.absolute()}); "
                f"set data.root= or data.source.{name}="
            )
        found += matches
    if patterns and not found:
        log.info("no file matches %s: %s is carved out of train", given, name)
    return found


def _read(
    files: Sequence[Path], image_column: str | None, label_column: str | None, channels: int
) -> tuple[ParquetImages, list[Any], list[str] | None]:
    """Images still without labels, the labels as the files have them, and the classes' names in the metadata."""
    import pyarrow as pa
    from pyarrow import parquet as pq

    tables, labels, classes = [], [], None
    for file in files:
        try:
            schema = pq.read_schema(file)
            typed = columns.features(schema)
            names = schema.names
            fits = columns.of_type(typed, "Image") or [f.name for f in schema if _holds_images(f.type)]
            image = columns.find(names, image_column, columns.IMAGE_NAMES, fits, "image", file.name)
            fits = columns.of_type(typed, "ClassLabel")
            label = columns.find(names, label_column, columns.LABEL_NAMES, fits, "label", file.name)
            table = pq.read_table(file, columns=list({image, label}), partitioning=None)
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(f"{file} cannot be read as parquet: {' '.join(str(error).split())}") from error
        if not _holds_images(table.schema.field(image).type):
            raise UserError(
                f"{file.name}: column {image!r} holds {table.schema.field(image).type}, not encoded images (struct of "
                f"bytes and path, or binary); set data.source.image_column to one of {', '.join(names)}"
            )
        tables.append(table[image])
        labels += table[label].to_pylist()
        classes = columns.class_names(typed.get(label)) if classes is None else classes
    return ParquetImages(files, tables, channels), labels, classes


def _holds_images(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return {"bytes", "path"} <= {field.name for field in kind}
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
