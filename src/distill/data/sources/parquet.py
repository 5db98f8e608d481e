"""Local parquet files with encoded images, in the Hugging Face hub's layout or a plain one."""

import glob
import logging
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

from distill.data.sources import columns
from distill.data.splits import Splits
from distill.data.targets import Targets
from distill.data.vision.images import EncodedImages
from distill.utils.errors import UserError, one_line
from distill.utils.files import open_file

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
        super().__init__(channels)
        self.files = files
        self.tables = tables
        self._starts = list(accumulate(map(len, tables), initial=0))  # of each file, in rows of all

    def _place(self, row: int) -> tuple[int, int]:
        """The number of a row's file, and the row in it."""
        file = bisect_right(self._starts, row) - 1
        return file, row - self._starts[file]

    def name(self, row: int) -> str:
        """The row's number in its file."""
        file, row = self._place(row)
        return f"row {row} of {self.files[file].name}"

    def open(self, row: int) -> BinaryIO:
        """The row's bytes, or the file beside the table that it names."""
        file, row = self._place(row)
        return columns.open_cell(self.tables[file][row].as_py(), self.files[file].parent)


def parquet(
    train: Files,
    test: Files | None = None,
    val: Files | None = None,
    image_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    channels: int = 3,
    targets: Targets = "classes",
) -> Splits:
    """Images from parquet files; where ``train`` matches none, those in the folder ``data`` beside it, as on the hub.

    Labels go by the names that a file lists for them, so files may list the same names in different orders.

    Args:
        train: path or glob pattern, or several.
        test: likewise; None, or a pattern that matches nothing: carved out of ``train``.
        val: likewise.
        image_column: struct of bytes and path, or binary; None: found by its usual names or its type.
        label_column: of classes whole numbers, or text; of several labels one column of names, or a list of columns of
            0 and 1; of numbers one or several; None: found likewise.
        channels: 3 (RGB) or 1 (grey).
        targets: what the task needs; see ``distill.data.targets``.

    Raises:
        UserError: for missing files, columns that are not there, a null label, a name that is no class, or a value
            that does not fit ``targets``.
    """
    files = _split_files({"train": _paths(train), "val": _paths(val), "test": _paths(test)})
    return columns.as_splits(
        {option: _read(paths, image_column, label_column, channels, targets) for option, paths in files.items()},
        targets,
        label_column,
    )


def split_files(root: Path) -> dict[str, list[Path]]:
    """The files ``train*.parquet``, ``val*.parquet`` and ``test*.parquet`` of a folder, or of ``data`` in it."""
    return _split_files({split: [root / f"{split}*.parquet"] for split in ("train", "val", "test")})


def _split_files(patterns: dict[str, list[Path]]) -> dict[str, list[Path]]:
    if not any(map(_matches, patterns["train"])):
        hub = {option: [path.parent / "data" / path.name for path in paths] for option, paths in patterns.items()}
        patterns = hub if any(map(_matches, hub["train"])) else patterns
    files = {option: _files(paths, option) for option, paths in patterns.items()}
    return {option: paths for option, paths in files.items() if paths}


def read_columns(file: Path, names: Sequence[str]) -> list[Any]:
    """Columns of encoded images of a file.

    Raises:
        UserError: it cannot be read, or a column holds something else.
    """
    import pyarrow as pa
    from pyarrow import parquet as pq

    try:
        open_file(file).close()  # pyarrow would wait for ever at a pipe
        table = pq.read_table(file, columns=list(dict.fromkeys(names)), partitioning=None)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{file} cannot be read as parquet: {one_line(error)}") from error
    for name in names:
        if not _holds_images(table.schema.field(name).type):
            raise UserError(f"{file.name}: column {name!r} holds {table.schema.field(name).type}, not encoded images")
    return [table[name] for name in names]


def _paths(patterns: Files | None) -> list[Path]:
    return [Path(each) for each in ([patterns] if isinstance(patterns, str | Path) else patterns or [])]


def _split(pattern: Path) -> tuple[Path, str]:
    """The longest folder that exists, whose name may hold brackets, and the pattern below it."""
    folder = next(parent for parent in pattern.parents if parent.is_dir() or parent == Path(pattern.anchor))
    return folder, "" if pattern == folder else str(pattern.relative_to(folder))


def _matches(pattern: Path) -> list[Path]:
    folder, below = _split(pattern)
    if pattern.is_file():
        return [pattern]
    return sorted(folder / match for match in glob.glob(below, root_dir=folder, recursive=True))  # noqa: PTH207


def _files(patterns: Sequence[Path], option: str) -> list[Path]:
    files: list[Path] = []
    for pattern in patterns:
        matches = _matches(pattern)
        if not matches and (option == "train" or not glob.has_magic(_split(pattern)[1])):
            raise UserError(
                f"no parquet file matches data.source.{option}={pattern} "
                f"(looked in {pattern.parent.absolute()}); set data.root= or data.source.{option}="
            )
        files += matches
    if patterns and not files:
        log.info("no file matches %s: %s is carved out of train", ", ".join(map(str, patterns)), option)
    return files


def _read(
    files: Sequence[Path], image_column: str | None, label_column: Any, channels: int, targets: Targets
) -> columns.Table:
    import pyarrow as pa
    from pyarrow import parquet as pq

    images, labels = [], []
    for file in files:
        try:
            open_file(file).close()  # pyarrow would wait for ever at a pipe
            schema = pq.read_schema(file)
            features = columns.schema_features(schema)
            typed = columns.columns_of_type(features, "Image") or [f.name for f in schema if _holds_images(f.type)]
            image = columns.find_column(schema.names, "image", image_column, typed, file.name)
            typed = columns.columns_of_type(features, "ClassLabel")
            chosen = columns.find_labels(schema.names, label_column, typed, file.name, targets)
            table = pq.read_table(file, columns=list({image, *chosen}), partitioning=None)
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(f"{file} cannot be read as parquet: {one_line(error)}") from error
        if not _holds_images(table.schema.field(image).type):
            raise UserError(
                f"{file.name}: column {image!r} holds {table.schema.field(image).type}, not encoded images (struct of "
                f"bytes and path, or binary); set data.image= to one of {', '.join(schema.names)}"
            )
        images.append(table[image])
        names = columns.class_names(features.get(chosen[0], {})) if len(chosen) == 1 else None
        labels.append(columns.Labels({name: table[name].to_pylist() for name in chosen}, names))
    return columns.Table(ParquetImages(files, images, channels), labels, sum(map(len, images)))


def _holds_images(arrow_type: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(arrow_type):
        arrow_type = arrow_type.value_type
    if pa.types.is_struct(arrow_type):
        return {"bytes", "path"} <= {field.name for field in arrow_type}
    binary = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return any(is_such(arrow_type) for is_such in binary)
