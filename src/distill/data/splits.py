"""Training, validation and test: what a source returns, and the stratified carving of what it lacks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from distill.data.vision.images import ImageSet, as_image_set
from distill.utils.errors import UserError


@dataclass(frozen=True)
class Splits:
    """What a source returns.

    Args:
        train: the training pool.
        val: None: carved out of ``train``.
        test: None: carved out of ``train``, before ``val``.
        classes: names in the order of the labels; None: the numbers 0..max.
    """

    train: Any
    val: Any = None
    test: Any = None
    classes: Sequence[str] | None = None


@dataclass(frozen=True)
class Split:
    """One split: some rows of an image set, in ascending order (int64)."""

    images: ImageSet
    rows: Tensor

    @property
    def labels(self) -> Tensor:
        """The rows' labels, int64."""
        return self.images.labels[self.rows]


def as_splits(source: Any) -> Splits:
    """Read a source's result: Splits, anything with train/val/test/classes, a mapping of those, or one dataset.

    One dataset is all training pool: validation and test are carved out of it.
    """
    if isinstance(source, Mapping):
        train, val, test, classes = (source.get(name) for name in ("train", "val", "test", "classes"))
    elif (hasattr(source, "__getitem__") and hasattr(source, "__len__")) or isinstance(source, ImageSet):
        train, val, test, classes = source, None, None, getattr(source, "classes", None)
    else:
        train, val, test, classes = (getattr(source, name, None) for name in ("train", "val", "test", "classes"))
    if train is None:
        raise UserError(
            f"a source must return Splits, a dataset, or an object with train, val, test and classes; "
            f"got {type(source).__name__} without train"
        )
    sets = [None if split is None else as_image_set(split) for split in (train, val, test)]
    if classes is None:
        classes = getattr(train, "classes", None)
    return Splits(sets[0], sets[1], sets[2], None if classes is None else [str(name) for name in classes])


def check_labels(splits: Splits) -> list[str]:
    """Check every split's labels against the classes and return the classes' names.

    Raises:
        UserError: for an empty split, fewer than two classes, unnamed classes with gaps between them, or a label
            outside 0..C-1 (split, row and value named).
    """
    sets = {name: getattr(splits, name) for name in ("train", "val", "test") if getattr(splits, name) is not None}
    for name, images in sets.items():
        if not len(images):
            raise UserError(f"the {name} split is empty: it needs at least one image")
    top = max(int(images.labels.max()) for images in sets.values())
    if splits.classes is None:
        used = sets["train"].labels.unique()
        if int(used[0]) >= 0 and len(used) != top + 1:
            raise UserError(
                f"the labels must be 0..C-1 without gaps: the training images have {len(used)} different ones from "
                f"{int(used[0])} to {int(used[-1])}, and the largest of all is {top}"
            )
    classes = list(splits.classes) if splits.classes is not None else [str(number) for number in range(top + 1)]
    for name, images in sets.items():
        wrong = ((images.labels < 0) | (images.labels >= len(classes))).nonzero().flatten()
        if len(wrong):
            row = int(wrong[0])
            raise UserError(
                f"label {int(images.labels[row])} of {name} {images.name(row)} is outside 0..{len(classes) - 1} "
                f"({len(classes)} classes; {len(wrong)} such labels)"
            )
    present = sets["train"].labels.bincount().nonzero().flatten()
    if len(present) < 2:
        raise UserError(f"the training images are all of one class ({classes[int(present[0])]}): at least 2 are needed")
    return classes


def split_dataset(
    splits: Splits, val_fraction: float, test_fraction: float, seed: int, classes: Sequence[str]
) -> dict[str, Split]:
    """Give every split its rows, carving test and then val out of the training pool where the source has none.

    Args:
        splits: with ImageSets.
        val_fraction: share of what is training after ``test`` is taken.
        test_fraction: share of the training pool.
        seed: of both choices.
        classes: their names.
    """
    pool = torch.arange(len(splits.train))
    labels = splits.train.labels
    wanted = 1 + (splits.val is None) + (splits.test is None)
    counts = labels.bincount(minlength=len(classes))
    few = ((counts > 0) & (counts < wanted)).nonzero().flatten()
    if len(few):
        name, count = classes[int(few[0])], int(counts[few[0]])
        raise UserError(
            f"class {name!r} has {count} training image{'s' * (count > 1)}: {wanted} splits are made of them, "
            f"so each class needs at least {wanted}"
        )
    parts: dict[str, Split] = {}
    for name, fraction in (("test", test_fraction), ("val", val_fraction)):
        given = getattr(splits, name)
        if given is not None:
            parts[name] = Split(given, torch.arange(len(given)))
            continue
        taken = round(fraction * len(pool))
        pool, rows = stratified(pool, labels, taken, seed, f"data.{name}_fraction={fraction}")
        parts[name] = Split(splits.train, rows)
    return {"train": Split(splits.train, pool), **parts}


def stratified(pool: Tensor, labels: Tensor, taken: int, seed: int, given: str) -> tuple[Tensor, Tensor]:
    """Take ``taken`` of the ``pool``'s rows at random, each class in its proportion.

    Args:
        pool: rows, int64 (N,).
        labels: of all rows, so that ``labels[pool]`` are the pool's.
        taken: how many.
        seed: of the choice.
        given: the option that asked for it, for the error.

    Returns:
        The rows that stay and those taken, each ascending.

    Raises:
        UserError: if either part cannot hold one image of each class.
    """
    from sklearn.model_selection import train_test_split

    number = int((labels[pool].bincount() > 0).sum())
    left = len(pool) - taken
    if min(taken, left) < number:
        raise UserError(
            f"{given} splits {len(pool)} images into {left} and {taken}: each part needs at least one of each of the "
            f"{number} classes"
        )
    stays, goes = train_test_split(
        pool.numpy(), test_size=taken, train_size=left, random_state=seed, stratify=labels[pool].numpy()
    )
    return torch.from_numpy(stays).sort().values, torch.from_numpy(goes).sort().values
