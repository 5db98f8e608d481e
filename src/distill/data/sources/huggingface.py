"""A data set of the Hugging Face hub, or a local folder in its layout, through the optional package datasets."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from distill.data.sources.columns import (
    Labels,
    Table,
    as_splits,
    class_names,
    find_column,
    find_labels,
    open_cell,
    schema_features,
)
from distill.data.splits import Splits
from distill.data.targets import Targets
from distill.data.vision.images import EncodedImages
from distill.utils.errors import UserError, one_line
from distill.utils.files import open_file
from distill.utils.hub import unreachable_hub
from distill.utils.processes import map_in_threads


class HubImages(EncodedImages):
    """One split of ``datasets``, memory-mapped, with undecoded images.

    Args:
        rows: a datasets.Dataset of one column, whose Image feature does not decode.
        column: its name.
        split: its split's name, for messages.
        channels: 1 or 3.
    """

    def __init__(self, rows: Any, column: str, split: str, channels: int) -> None:
        super().__init__(channels)
        self.rows = rows
        self.column = column
        self.split = split

    def name(self, row: int) -> str:  # noqa: D102
        return f"row {row} of the split {self.split}"

    def open(self, row: int) -> BinaryIO:  # noqa: D102
        return open_cell(self.rows[row][self.column], Path())


def huggingface(
    name: str,
    config: str | None = None,
    train: str = "train",
    val: str | None = None,
    test: str | None = None,
    image_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    channels: int = 3,
    root: str | Path | None = None,
    revision: str | None = None,
    targets: Targets = "classes",
) -> Splits:
    """Images of a hub data set.

    Args:
        name: on the hub (``owner/name``), or a local folder.
        config: the data set's configuration, where it has several.
        train: name of the training split.
        val: likewise; None: "validation" or "valid" or "val" where there is one, else carved out of ``train``.
        test: likewise; None: "test" where there is one, else carved.
        image_column: None: found by its usual names or its type.
        label_column: as of ``parquet``; None: found likewise.
        channels: 3 (RGB) or 1 (grey).
        root: folder of the downloads; None: the package's own cache.
        revision: of the repository on the hub: a commit, for results that can be repeated.
        targets: what the task needs; see ``distill.data.targets``.

    Raises:
        UserError: if the package is missing, the data cannot be had, or splits or columns are not there.
    """
    splits, data_files = load_splits(name, config, train, val, test, root, revision)
    tables = {}
    for option, split in splits.items():
        files = data_files.get(str(split.split), ())
        tables[option] = _read(split, files, image_column, label_column, channels, targets)
    return as_splits(tables, targets, label_column)


def load_splits(
    name: str,
    config: str | None,
    train: str,
    val: str | None,
    test: str | None,
    root: str | Path | None,
    revision: str | None,
    key: str = "data.source.name",
) -> tuple[dict[str, Any], Mapping[str, Sequence[str]]]:
    """The splits of a hub data set as ``datasets.Dataset`` by "train", "val" and "test", and the files of each.

    Args:
        name: and the others as :func:`huggingface` takes them.
        config: likewise.
        train: likewise.
        val: likewise.
        test: likewise.
        root: likewise.
        revision: likewise.
        key: the option that names it, for errors.

    Raises:
        UserError: if the package is missing, the data cannot be had, or a split is not there.
    """
    try:
        import datasets
    except ImportError as error:
        raise UserError('data=huggingface needs the package datasets: pip install "distill[hf]"') from error
    cache, unreachable = None if root is None else str(root), unreachable_hub(name)
    offline = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = offline or bool(unreachable)  # its cache, without half a minute of retries
    try:
        builder = datasets.load_dataset_builder(name, config, cache_dir=cache, revision=revision)
        builder.download_and_prepare()
        repository = builder.as_dataset()
    except Exception as error:  # the package raises OSError, ValueError and its own, for one reason: it is not there
        cause = re.sub(r" \(\w+Error\)$", "", one_line(error))
        if unreachable:
            cause = f"it is no file or folder here, not in the cache of the package datasets, and {unreachable}"
        raise UserError(f"{key}={name}: the data set cannot be loaded: {cause}") from error
    finally:
        datasets.config.HF_HUB_OFFLINE = offline
    val = val or next((split for split in ("validation", "valid", "val") if split in repository), None)
    test = test or ("test" if "test" in repository else None)
    splits = {}
    for option, split in (("train", train), ("val", val), ("test", test)):
        if split is None:
            continue
        if split not in repository:
            raise UserError(f"data.source.{option}={split}: {name} has the splits {', '.join(repository)}")
        splits[option] = repository[split]
    return splits, builder.config.data_files or {}


def _read(
    split: Any, files: Sequence[str], image_column: str | None, label_column: Any, channels: int, targets: Targets
) -> Table:
    import datasets

    names, where = list(split.column_names), f"the split {split.split}"
    typed = [column for column, feature in split.features.items() if _holds_images(feature)]
    image = find_column(names, "image", image_column, typed, where)
    if image not in typed:
        raise UserError(f"{where}: column {image!r} holds no images; set data.image= to one of {', '.join(names)}")
    typed = [column for column, feature in split.features.items() if isinstance(feature, datasets.ClassLabel)]
    chosen = find_labels(names, label_column, typed, where, targets)
    rows = split.select_columns([image]).cast_column(image, datasets.Image(decode=False))
    classes: list[str] | None = None
    if len(chosen) == 1:
        feature = split.features[chosen[0]]
        listed = getattr(getattr(feature, "feature", feature), "names", None)  # of a list's items, or its own
        classes = None if listed is None else list(listed)
        _check_names([file for file in files if file.endswith(".parquet")], chosen[0], classes)
    labels = Labels({label: list(split[label][:]) for label in chosen}, classes)
    return Table(HubImages(rows, image, str(split.split), channels), [labels], len(rows))


def _holds_images(feature: Any) -> bool:
    """Whether it is an Image, or what one is stored as: bytes, or a struct of bytes and path."""
    import datasets

    if isinstance(feature, dict):
        return {"bytes", "path"} <= feature.keys()
    return isinstance(feature, datasets.Image) or getattr(feature, "dtype", None) in ("binary", "large_binary")


def _check_names(files: Sequence[str], label: str, classes: list[str] | None) -> None:
    """A UserError if a parquet file lists other classes: ``datasets`` reads all files with the first one's.

    Of a file on the hub only the end is fetched, which holds the list.
    """
    from huggingface_hub import HfFileSystem
    from pyarrow import parquet

    def listed(file: str) -> list[str] | None:
        try:
            with HfFileSystem().open(file) if file.startswith("hf://") else open_file(file) as table:
                return class_names(schema_features(parquet.read_schema(table)).get(label, {}))
        except Exception as error:  # of the system, of the network, of parquet
            raise UserError(f"the classes that {file} lists cannot be read: {one_line(error)}") from error

    for file, names in zip(files, map_in_threads(listed, files, at_a_time=1), strict=True):
        if names not in (None, classes):
            raise UserError(f"{file} lists other classes than the first file, or in another order: use data=parquet")
