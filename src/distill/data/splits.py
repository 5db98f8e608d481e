"""Training, validation and test: what a source returns, and the stratified carving of what it lacks."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from distill.data.class_counts import check_counts
from distill.utils.errors import UserError

log = logging.getLogger(__name__)


@runtime_checkable
class LabelledDataset(Protocol):
    """A dataset that knows the labels of all its samples.

    Attributes:
        labels: class numbers, int64 (N,); 0 or 1 of each label, (N, C); or numbers, float32 (N,) or (N, K).
    """

    labels: Tensor

    def __len__(self) -> int: ...

    def name(self, row: int) -> str:
        """The sample's name in error messages."""


_OTHER_NAMES = {"validation": "val", "valid": "val"}  # as Hugging Face's datasets and torchvision name the split

DatasetT = TypeVar("DatasetT", bound=LabelledDataset)


@dataclass(frozen=True)
class Splits:
    """What a source returns.

    Args:
        train: the training pool.
        val: None: carved out of ``train``.
        test: None: carved out of ``train``, before ``val``.
        classes: names in the order of the labels, or of the columns of (N, C); None: the numbers from 0.
    """

    train: Any
    val: Any = None
    test: Any = None
    classes: Sequence[str] | None = None


@dataclass(frozen=True)
class Split(Generic[DatasetT]):
    """One split: some rows of a dataset, in ascending order (int64)."""

    dataset: DatasetT
    rows: Tensor


def as_splits(source: Any, as_dataset: Callable[[Any], LabelledDataset]) -> Splits:
    """Read a source's result: Splits, anything with train/val/test/classes, a mapping of those, or one dataset.

    One dataset is all training pool: validation and test are carved out of it. ``as_dataset`` is applied to each split.
    Where the datasets list their classes (``classes``), labels go by the names, whatever their order.
    """
    names = ("train", "val", "test", "classes")
    if isinstance(source, Mapping):
        keys = {_OTHER_NAMES.get(key, key): value for key, value in source.items()}
        unclear = [key for key in keys if key not in names and re.match("(train|val|test|dev|eval)", str(key), re.I)]
        unclear += [key for key in source if len(keys) < len(source) and _OTHER_NAMES.get(key, key) == "val"]
        if unclear:
            raise UserError(f"a source's mapping has the keys train, val and test, got {', '.join(map(repr, unclear))}")
        train, val, test, classes = map(keys.get, names)
    elif (hasattr(source, "__getitem__") and hasattr(source, "__len__")) or isinstance(source, LabelledDataset):
        train, val, test, classes = source, None, None, None
    else:
        train, val, test, classes = (getattr(source, name, None) for name in names)
        if train is None and (hasattr(source, "__getitem__") or hasattr(source, "__iter__")):
            train = source  # a dataset that lacks something, which as_dataset says
    if train is None:
        raise UserError(
            f"a source must return Splits, a dataset, or an object with train, val, test and classes; "
            f"got {type(source).__name__} without train"
        )
    train = as_dataset(train)
    listed = _listed_classes(train)
    val, test = (None if split is None else _renumbered(as_dataset(split), listed) for split in (val, test))
    return Splits(train, val, test, listed if classes is None else [str(name) for name in classes])


def _listed_classes(dataset: LabelledDataset) -> list[str] | None:
    classes = getattr(dataset, "classes", None)
    return None if classes is None else [str(name) for name in classes]


def _renumbered(dataset: LabelledDataset, classes: Sequence[str] | None) -> LabelledDataset:
    """The dataset with labels by the training set's list of classes, where both have one."""
    labels = renumber(dataset.labels, _listed_classes(dataset), classes, dataset.name)
    if labels is not dataset.labels:
        dataset = copy(dataset)  # the source may return the same object again
        dataset.labels = labels
    return dataset


def renumber(
    labels: Tensor, names: Sequence[str] | None, classes: Sequence[str] | None, row_name: Callable[[int], str]
) -> Tensor:
    """Number labels by ``classes`` that are numbered by ``names``: the same name is the same class.

    Args:
        labels: int64 (N,).
        names: what they stand for; None: nothing is said of it, and they stay as they are.
        classes: the names in the new order; None: they stay as they are.
        row_name: a row's name in error messages.

    Raises:
        UserError: for a name that is no class, or that stands twice in a list, or a label outside ``names``.
    """
    if names is None or classes is None or list(names) == list(classes):
        return labels
    for listed in (names, classes):
        if len(set(listed)) < len(listed):
            twice = next(name for name in listed if list(listed).count(name) > 1)
            raise UserError(f"the class {twice!r} stands twice in a list, and lists of classes differ: rename one")
    numbers = {name: number for number, name in enumerate(classes)}
    outside = ((labels < 0) | (labels >= len(names))).nonzero().flatten().tolist()
    if outside:
        raise UserError(f"label {int(labels[outside[0]])} of {row_name(outside[0])} is outside 0..{len(names) - 1}")
    renumbered = torch.tensor([numbers.get(name, -1) for name in names])[labels]
    unknown = (renumbered < 0).nonzero().flatten().tolist()
    if unknown:
        name = names[int(labels[unknown[0]])]
        raise UserError(f"the label of {row_name(unknown[0])} is {name!r}, which is no class of the training split")
    return renumbered


def check_labels(splits: Splits, for_training: bool = True) -> list[str]:
    """Check every split's labels against the classes and return the classes' names.

    Args:
        splits: of datasets with class numbers.
        for_training: else a split may hold some of the classes only.

    Raises:
        UserError: for an empty split, fewer than two classes, unnamed classes with gaps between them, or a label
            outside 0..C-1 (split, row and value named).
    """
    datasets = {name: getattr(splits, name) for name in ("train", "val", "test") if getattr(splits, name) is not None}
    for name, dataset in datasets.items():
        if not len(dataset):
            raise UserError(f"the {name} split is empty: it needs at least one sample")
    if splits.classes is not None:
        classes = list(splits.classes)
    else:
        largest = max(int(dataset.labels.max()) for dataset in datasets.values())
        used = splits.train.labels.unique()
        if for_training and int(used[0]) >= 0 and len(used) != largest + 1:
            raise UserError(
                f"the labels must be 0..C-1 without gaps: the training samples have {len(used)} different ones from "
                f"{int(used[0])} to {int(used[-1])}, and the largest of all is {largest}"
            )
        classes = [str(number) for number in range(largest + 1)]
    for name, dataset in datasets.items():
        invalid = ((dataset.labels < 0) | (dataset.labels >= len(classes))).nonzero().flatten()
        if len(invalid):
            row = int(invalid[0])
            raise UserError(
                f"label {int(dataset.labels[row])} of {name} {dataset.name(row)} is outside 0..{len(classes) - 1} "
                f"({len(classes)} classes; {len(invalid)} such labels)"
            )
    if not for_training:
        return classes
    present = splits.train.labels.bincount().nonzero().flatten()
    if len(present) < 2:
        raise UserError(
            f"the training samples are all of one class ({classes[int(present[0])]}): at least 2 are needed"
        )
    if len(present) < len(classes):
        absent = [classes[number] for number in sorted({*range(len(classes))} - {*present.tolist()})]
        log.warning(f"{len(absent)} of {len(classes)} classes have no training sample: {', '.join(absent[:5])}")
    return classes


def split_dataset(
    splits: Splits, val_fraction: float, test_fraction: float, seed: int, classes: Sequence[str] | None
) -> dict[str, Split[Any]]:
    """Give every split its rows, carving test and then val out of the training pool where the source has none.

    Args:
        splits: of labelled datasets.
        val_fraction: share of what is training after ``test`` is taken.
        test_fraction: share of the training pool.
        seed: of both choices.
        classes: their names, and each part gets every class in its proportion; None: the parts are drawn at random.
    """
    pool, labels = torch.arange(len(splits.train)), None if classes is None else splits.train.labels
    if classes is not None:
        check_counts(splits.train.labels, classes, 1 + (splits.val is None) + (splits.test is None))
    parts: dict[str, Split[Any]] = {}
    for name, fraction in (("test", test_fraction), ("val", val_fraction)):
        dataset = getattr(splits, name)
        if dataset is not None:
            parts[name] = Split(dataset, torch.arange(len(dataset)))
            continue
        size, option = round(fraction * len(pool)), f"data.{name}_fraction={fraction}"
        pool, rows = choose(pool, labels, size, seed, option, every_class=False)
        parts[name] = Split(splits.train, rows)
    return {"train": Split(splits.train, pool), **parts}


def choose(
    pool: Tensor, labels: Tensor | None, size: int, seed: int, option: str, every_class: bool = True
) -> tuple[Tensor, Tensor]:
    """As :func:`stratified`; without labels ``size`` of the ``pool``'s rows at random."""
    if labels is not None:
        return stratified(pool, labels, size, seed, option, every_class)
    if not 0 < size < len(pool):
        raise UserError(
            f"{option} splits {len(pool)} samples into {len(pool) - size} and {size}: each needs at least 1"
        )
    shuffled = pool[torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))]
    return shuffled[size:].sort().values, shuffled[:size].sort().values


def stratified(
    pool: Tensor, labels: Tensor, size: int, seed: int, option: str, every_class: bool = True
) -> tuple[Tensor, Tensor]:
    """Take ``size`` of the ``pool``'s rows at random, each class in its proportion; of fewer than classes, one each.

    Args:
        pool: rows, int64 (N,).
        labels: of all rows, so that ``labels[pool]`` are the pool's.
        size: number of rows taken.
        seed: of the choice.
        option: the option that asks for it, for the error.
        every_class: whether the rows taken need one of each class; else there may be fewer than classes.

    Returns:
        The rows that remain and those taken, each ascending.

    Raises:
        UserError: if a part cannot hold one sample of each class that it needs.
    """
    from sklearn.model_selection import train_test_split

    num_classes = len(labels[pool].bincount().nonzero())
    rest = len(pool) - size
    if size and not every_class and size < num_classes <= rest:
        return _one_of_a_class(pool, labels, size, seed, option)
    if min(size, rest) < num_classes:
        raise UserError(
            f"{option} splits {len(pool)} samples into {rest} and {size}: each part needs at least one of each of the "
            f"{num_classes} classes"
        )
    remaining, taken = train_test_split(
        pool.numpy(), test_size=size, train_size=rest, random_state=seed, stratify=labels[pool].numpy()
    )
    return torch.from_numpy(remaining).sort().values, torch.from_numpy(taken).sort().values


def _one_of_a_class(pool: Tensor, labels: Tensor, size: int, seed: int, option: str) -> tuple[Tensor, Tensor]:
    """As :func:`stratified`, where there are more classes than rows to take: one row of each of ``size`` classes."""
    shuffled = pool[torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))]
    _, first, counts = np.unique(labels[shuffled].numpy(), return_index=True, return_counts=True)
    spare = torch.from_numpy(first[counts > 1]).sort().values  # positions in random order, no class's only row
    if len(spare) < size:
        raise UserError(f"{option} takes {size} samples, and only {len(spare)} classes have more than one")
    log.warning(
        f"{option} takes {size} sample{'s' * (size != 1)}, fewer than there are classes ({len(first)}): "
        f"one of each of {size}"
    )
    taken = torch.zeros(len(pool), dtype=torch.bool)
    taken[spare[:size]] = True
    return shuffled[~taken].sort().values, shuffled[taken].sort().values
