"""Images and a mask of each, the class of every pixel: folders, VOC's and Cityscapes' layouts, parquet files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from distill.data.sources import mask_values
from distill.data.sources.columns import find_column
from distill.data.sources.folder import FileImages
from distill.data.sources.mask_layouts import Layout, Pairs, find_layout
from distill.data.sources.parquet import ParquetImages, read_columns, split_files
from distill.data.splits import Splits
from distill.data.targets import Targets
from distill.data.vision.images import EncodedImages
from distill.data.vision.masked import MaskedImages
from distill.utils.errors import UserError


def masks(
    root: str | Path | None,
    classes: int | Sequence[str] | Mapping[str, int] | None = None,
    ignore: int | None = 255,
    image_column: str | None = None,
    mask_column: str | None = None,
    channels: int = 3,
    targets: Targets = "masks",
) -> Splits:
    """Images with their masks, palette or grey PNG (or whatever else loses nothing), whose values are class numbers.

    A folder ``images`` and a folder ``masks`` (or what they are usually called) with the same names in both but for the
    suffix, with or without split folders, as ``images/train/…`` or as ``train/images/…``; VOC's layout (``JPEGImages``,
    ``SegmentationClass``, ``ImageSets/Segmentation``); Cityscapes' (``leftImg8bit``, ``gtFine``; ``_labelTrainIds``, or
    else ``_labelIds``); ``train*.parquet`` with two columns of encoded images. What is missing is carved out of train.

    Args:
        root: the folder.
        classes: their number, their names (of the values 0, 1, …), or each name's value; None: those of VOC or
            Cityscapes, else the training masks' values, which are then 0..C-1.
        ignore: the value of pixels that have no class; None: there is none.
        image_column: of parquet files; None: found by its usual names.
        mask_column: likewise.
        channels: 3 (RGB) or 1 (grey), of the images.
        targets: "masks", or "none": the images alone.

    Raises:
        UserError: an image without its mask, sizes that differ, a mask that is a picture, or a value that is no class.
    """
    if root is None:
        raise UserError("data=masks needs the images and their masks: data.root=<folder>")
    root, layout, found = Path(root), Layout({}), dict[str, tuple[EncodedImages, EncodedImages]]()
    if not root.is_dir():
        raise UserError(f"there is no folder {root.absolute()}: set data.root= to the folder with images and masks")
    if any(root.glob("train*.parquet")) or any((root / "data").glob("train*.parquet")):
        found = _of_parquet(root, image_column, mask_column, channels)
    else:
        for key, column in (("image", image_column), ("label", mask_column)):
            if column is not None:
                raise UserError(f"data.{key}={column} names a column of parquet files, and {root} holds folders")
        layout = find_layout(root)
        found = {split: _of_files(pairs, channels) for split, pairs in layout.splits.items()}
    if targets == "none":
        alone = {split: each for split, (each, _) in found.items()}
        return Splits(alone["train"], alone.get("val"), alone.get("test"))
    names, values = mask_values.classes(classes if classes is not None else layout.classes, ignore)
    used = {split: mask_values.survey(*sets) for split, sets in found.items()}
    names, table = mask_values.table(
        used, names, values, ignore, layout.without_class if classes is None else frozenset()
    )
    sets = {split: MaskedImages(images, masks, table) for split, (images, masks) in found.items()}
    return Splits(sets["train"], sets.get("val"), sets.get("test"), names)


def _of_files(pairs: Pairs, channels: int) -> tuple[EncodedImages, EncodedImages]:
    labels = torch.zeros(len(pairs.images), dtype=torch.int64)
    return FileImages(pairs.root, pairs.images, labels, channels), FileImages(pairs.root, pairs.masks, labels, 1)


def _of_parquet(
    root: Path, image: str | None, mask: str | None, channels: int
) -> dict[str, tuple[EncodedImages, EncodedImages]]:
    """Of each split the images and the masks of its files."""
    found: dict[str, tuple[EncodedImages, EncodedImages]] = {}
    for split, files in split_files(root).items():
        pairs = [_columns(file, image, mask) for file in files]
        tables = list(zip(*(read_columns(file, pair) for file, pair in zip(files, pairs, strict=True)), strict=True))
        sets = [ParquetImages(files, each, number) for each, number in zip(tables, (channels, 1), strict=True)]
        for each in sets:
            each.labels = torch.zeros(sum(map(len, tables[0])), dtype=torch.int64)
        found[split] = (sets[0], sets[1])
    return found


def _columns(file: Path, image: str | None, mask: str | None) -> tuple[str, str]:
    """The names of the columns of images and of masks in a file."""
    from pyarrow import parquet as pq

    names = pq.read_schema(file).names
    return find_column(names, "image", image, [], file.name), find_column(names, "mask", mask, [], file.name)
