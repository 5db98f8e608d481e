"""What is to be predicted, as the data hold it: classes, labels, numbers, or nothing."""

import logging
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from distill.data.splits import LabelledDataset, Splits, check_labels
from distill.utils.errors import UserError

log = logging.getLogger(__name__)

IGNORED_PIXEL = 255  # in a mask: a pixel that has no class
IGNORED = -100  # the target of a token that has none: padding, special tokens, all but the first part of a word
Targets = Literal["classes", "multilabel", "numbers", "none", "tokens", "masks", "next_token"]
UNLABELLED = ("none", "next_token")  # the data hold no labels, or are their own
OUTPUTS = {  # of a model
    **{"classes": "classes", "multilabel": "labels", "numbers": "numbers", "none": "outputs", "tokens": "classes"},
    "masks": "classes",
    "next_token": "outputs",
}
_ONE = {"multilabel": "label", "numbers": "number"}
_NEEDS = {"classes": "one class per sample", "multilabel": "a 0 or 1 for every label of a sample", "numbers": "numbers"}
_ADVICE = {
    "classes": "give whole numbers from 0",
    "multilabel": "give a matrix (N, C), or name the columns of a table (data.label=[red,bright])",
    "numbers": "give floats, or name the columns of a table (data=csv data.label=age)",
}
_FITTING = {"classes": "classification", "multilabel": "multilabel", "numbers": "regression"}


def check_targets(splits: Splits, targets: Targets, for_training: bool = True) -> tuple[Splits, list[str]]:
    """The splits with labels as the task takes them, and the names of a model's outputs.

    "classes" are int64 (N,), "multilabel" float32 (N, C) of 0 and 1, "numbers" float32 (N, K), finite; "none" are
    zeros, int64 (N,), and name nothing, as "next_token" are, where a text is its own target; "tokens" are one class
    per word, the dataset's ``tags``; "masks" one class per pixel, the dataset's ``masks``. Whole numbers of one
    dimension are classes, floats are numbers.

    Args:
        splits: as the source gives them.
        targets: what the task needs.
        for_training: else a split may lack some of the classes or labels.

    Raises:
        UserError: labels of another kind, or values outside of it; split, row and value are named.
    """
    names = [name for name in ("train", "val", "test") if getattr(splits, name) is not None]
    for name in names:
        if not len(getattr(splits, name)):
            raise UserError(f"the {name} split is empty: it needs at least one sample")
    if targets in ("tokens", "masks"):
        _check_within(splits, names, targets)
        return splits, list(splits.classes or ())
    if any(getattr(getattr(splits, name), "masks", None) is not None for name in names) and targets != "none":
        raise UserError(
            f"the samples have a class per pixel, and the task needs {_NEEDS[targets]}: set task=segmentation"
        )
    labels = {name: _of_kind(getattr(splits, name), name, targets) for name in names}
    changed: dict[str, Any] = {name: _with_labels(getattr(splits, name), labels[name]) for name in names}
    splits = replace(splits, **changed)
    if targets == "classes":
        return splits, check_labels(splits, for_training)
    if targets in UNLABELLED:
        return splits, []
    width = labels["train"].shape[1]
    for name in names:
        if labels[name].shape[1] != width:
            raise UserError(
                f"the samples of train have {counted(width, targets)}, and those of {name} {labels[name].shape[1]}"
            )
    outputs = [str(number) for number in range(width)] if splits.classes is None else list(splits.classes)
    if len(outputs) != width:
        raise UserError(f"the samples have {counted(width, targets)}, and the source names {len(outputs)}")
    if targets == "multilabel" and for_training:
        _check_used(labels["train"], outputs)
    return splits, outputs


def _check_within(splits: Splits, names: Sequence[str], targets: Targets) -> None:
    """A UserError where samples have no classes within them: of words, or of pixels."""
    held, part, data = ("tags", "word", "text") if targets == "tokens" else ("masks", "pixel", "masks")
    for name in names:
        if getattr(getattr(splits, name), held, None) is None or splits.classes is None:
            raise UserError(f"the samples of {name} have no class per {part}, and the task needs one: set data={data}")


def counted(number: int, targets: Targets) -> str:
    """So many outputs of a model: "10 classes", "1 number"."""
    return f"{number} {_ONE.get(targets, OUTPUTS[targets]) if number == 1 else OUTPUTS[targets]}"


def moments(numbers: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each column of (N, K); the deviation of a constant column is 1."""
    exact = numbers.double()
    std = exact.std(0, correction=0)
    std = torch.where(std > 1e-6 * exact.abs().amax(0), std, torch.ones_like(std))
    return tuple(exact.mean(0).tolist()), tuple(std.tolist())


def _with_labels(dataset: LabelledDataset, labels: Tensor) -> LabelledDataset:
    if labels is not dataset.labels:
        dataset = copy(dataset)  # the source may return the same object again
        dataset.labels = labels
    return dataset


def _of_kind(dataset: LabelledDataset, split: str, targets: Targets) -> Tensor:
    """The labels of one split as the task takes them."""
    labels = dataset.labels
    if targets in UNLABELLED:
        return torch.zeros(len(dataset), dtype=torch.int64)
    kind = _kind(labels)
    if kind == "numbers" and targets == "classes" and labels.ndim == 1:
        _check_whole(dataset, split)
        return labels.long()
    if kind != targets and not (kind == "multilabel" and targets == "numbers"):
        raise UserError(
            f"the labels are {_described(labels, kind)}, and the task needs {_NEEDS[targets]}: {_ADVICE[targets]}, "
            f"or set task={_FITTING[kind]}"
        )
    if targets == "classes":
        return labels
    labels = labels.float().reshape(len(labels), -1)
    if targets == "numbers":
        _check_values(dataset, split, labels, ~labels.isfinite(), "no finite number")
    return labels


def _kind(labels: Tensor) -> Targets:
    if labels.ndim == 1:
        return "numbers" if labels.is_floating_point() else "classes"
    return "multilabel" if bool(((labels == 0) | (labels == 1)).all()) else "numbers"


def _described(labels: Tensor, kind: Targets) -> str:
    if kind == "classes":
        return "classes (whole numbers, one per sample)"
    return f"{labels.shape[1] if labels.ndim > 1 else 1} numbers per sample{', each 0 or 1' * (kind == 'multilabel')}"


def _check_whole(dataset: LabelledDataset, split: str) -> None:
    values = dataset.labels[:, None]
    _check_values(dataset, split, values, values != values.round(), "no class number: classes are whole numbers from 0")


def _check_values(dataset: LabelledDataset, split: str, values: Tensor, invalid: Tensor, problem: str) -> None:
    """A UserError for the first row with an invalid value."""
    rows = invalid.any(1).nonzero().flatten()
    if len(rows):
        row = int(rows[0])
        value = values[row][invalid[row]][0].item()
        raise UserError(f"the label of {split} {dataset.name(row)} is {value:g}, {problem} ({len(rows)} such labels)")


def _check_used(labels: Tensor, names: Sequence[str]) -> None:
    """A warning of labels that all training samples have, or none."""
    for counts, what in ((labels.sum(0), "no training sample has"), ((1 - labels).sum(0), "every training sample has")):
        unused = [names[number] for number in (counts == 0).nonzero().flatten().tolist()]
        if unused:
            log.warning(f"{what} {len(unused)} of {len(names)} labels: {', '.join(unused[:5])}")
