"""A data set of the Hugging Face hub, or a local folder in its layout, through the optional package datasets."""

import hashlib
import io
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from distill.data.sources import columns
from distill.data.splits import Splits
from distill.data.vision.images import EncodedImages
from distill.utils.errors import UserError


class HubImages(EncodedImages):
    """One split of ``datasets``, memory-mapped, with undecoded images.

    Args:
        rows: a datasets.Dataset of one column, whose Image feature does not decode.
        column: its name.
        split: its split's name, for messages.
        channels: 1 or 3.
    """

    def __init__(self, rows: Any, column: str, split: str, channels: int) -> None:
        self.rows = rows
        self.column = column
        self.split = split
        self.channels = channels

    def name(self, row: int) -> str:
        """Row and split."""
        return f"row {row} of the split {self.split}"

    def open(self, row: int) -> BinaryIO:
        """The row's bytes, or the file it names."""
        value = self.rows[row][self.column] or {}
        if value.get("bytes") is not None:
            return io.BytesIO(value["bytes"])
        if value.get("path") is not None:
            return Path(value["path"]).open("rb")
        raise ValueError("it is null")

    def identity(self, rows: Tensor) -> bytes:
        """A digest of at most 1,024 files spread over the rows, and their number."""
        hasher = hashlib.sha256(str(len(rows)).encode())
        for row in rows[:: max(1, len(rows) // 1024)].tolist():
            try:
                with self.open(row) as file:
                    hasher.update(hashlib.sha256(file.read()).digest())
            except (OSError, ValueError):
                hasher.update(b"-")
        return hasher.digest()


def huggingface(
    name: str,
    config: str | None = None,
    train: str = "train",
    val: str | None = None,
    test: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    channels: int = 3,
    root: str | Path | None = None,
    revision: str | None = None,
) -> Splits:
    """Images of a hub data set.

    Args:
        name: on the hub (``owner/name``), or a local folder.
        config: the data set's configuration, where it has several.
        train: name of the training split.
        val: likewise; None: "validation" or "valid" or "val" where there is one, else carved out of ``train``.
        test: likewise; None: "test" where there is one, else carved.
        image_column: None: found by its usual names or its type.
        label_column: None: found likewise.
        channels: 3 (RGB) or 1 (grey).
        root: folder of the downloads; None: the package's own cache.
        revision: of the repository on the hub: a commit, for results that can be repeated.

    Raises:
        UserError: if the package is missing, the data cannot be had, or splits or columns are not there.
    """
    try:
        import datasets
    except ImportError as error:
        raise UserError('data=huggingface needs the package datasets: pip install "distill[hf]"') from error
    if channels not in (1, 3):
        raise UserError(f"data.source.channels must be 1 or 3, got {channels}")
    try:
        found = datasets.load_dataset(name, config, cache_dir=None if root is None else str(root), revision=revision)
    except Exception as error:  # the package raises OSError, ValueError and its own, for one reason: it is not there
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"the data set data.source.name={name} cannot be loaded: {reason}") from error
    chosen = {"train": train, "val": val or _first(found, "validation", "valid", "val"), "test": test}
    chosen["test"] = chosen["test"] or _first(found, "test")
    for split, given in chosen.items():
        if given is not None and given not in found:
            raise UserError(f"data.source.{split}={given}: {name} has the splits {', '.join(found)}")
    read = {
        split: _images(found[given], given, image_column, label_column, channels)
        for split, given in chosen.items()
        if given is not None
    }
    _, values, classes = read["train"]
    if classes is None:
        classes = columns.text_classes(values)
    for images, values, _ in read.values():
        images.labels = columns.numbers(values, classes, images.name)
    return Splits(**{split: images for split, (images, _, _) in read.items()}, classes=classes)


def _first(found: Any, *names: str) -> str | None:
    return next((name for name in names if name in found), None)


def _images(
    split: Any, name: str, image_column: str | None, label_column: str | None, channels: int
) -> tuple[HubImages, list[Any], list[str] | None]:
    import datasets

    names, where = list(split.column_names), f"the split {name}"
    fits = [column for column, feature in split.features.items() if isinstance(feature, datasets.Image)]
    image = columns.find(names, image_column, columns.IMAGE_NAMES, fits, "image", where)
    if image not in fits:
        raise UserError(f"{where}: column {image!r} holds no images; set data.source.image_column to one of {fits}")
    fits = [column for column, feature in split.features.items() if isinstance(feature, datasets.ClassLabel)]
    label = columns.find(names, label_column, columns.LABEL_NAMES, fits, "label", where)
    rows = split.select_columns([image]).cast_column(image, datasets.Image(decode=False))
    classes = list(split.features[label].names) if label in fits else None
    return HubImages(rows, image, name, channels), list(split[label][:]), classes
