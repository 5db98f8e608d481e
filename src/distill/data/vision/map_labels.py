"""The labels of a map-style dataset: those that it lists, else those of all its pairs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset

from distill.data.column_names import usual_columns
from distill.data.targets import Targets
from distill.data.vision.pixels import sample
from distill.utils.errors import UserError


def class_names(dataset: Any) -> Sequence[str] | None:
    """The classes as torchvision's datasets list them, or those of Hugging Face's, which keep them with the column."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    features = getattr(dataset, "features", None)
    if isinstance(features, Mapping):
        names = getattr(features.get(next(iter(usual_columns(list(features), "label")), None)), "names", None)
    else:
        names = getattr(dataset, "classes", None)
    return names if isinstance(names, Sequence) and not isinstance(names, str) else None


def all_labels(dataset: Any, label: Callable[[int], Any], targets: Targets) -> Tensor:
    """The labels of all samples: class numbers, int64 (N,); else float32 (N, K); of targets "none" zeros.

    Class numbers are an attribute's (``targets``, ``labels``) where a sample of the pairs agrees.

    Args:
        dataset: has a length.
        label: reads the label of a row.
        targets: what a label is.

    Raises:
        UserError: labels of another kind.
    """
    rows, name = range(len(dataset)), type(dataset).__name__
    if targets == "none":
        return torch.zeros(len(rows), dtype=torch.int64)
    if targets != "classes":
        return _vectors([label(row) for row in rows], name)
    listed = _listed_labels(dataset)
    if listed is not None and all(is_label(label(row), int(listed[row])) for row in sample(len(listed))):
        return listed
    return _integers([label(row) for row in rows], name)


def is_label(label: Any, listed: int | list[float]) -> bool:
    """Whether a label is the one that was listed: a number, or several in float32."""
    if type(label) is int and not isinstance(listed, list):  # mostly, and in every step
        return label == listed
    try:
        if isinstance(listed, list):
            return bool(np.array_equal(_vector(label), np.asarray(listed, np.float32)))
        array = np.asarray(label)
        return array.ndim == 0 and bool(array == listed)
    except (TypeError, ValueError):
        return False


def _vector(label: Any) -> np.ndarray:
    array = np.asarray(label)
    if array.dtype.kind not in "biuf" or array.ndim > 1:
        raise ValueError(f"got {label!r}")
    return array.astype(np.float32).reshape(-1)


def _vectors(labels: Sequence[Any], name: str) -> Tensor:
    """Labels of a number each, or of as many in each, float32 (N, K); whole numbers alone are classes, int64 (N,)."""
    if all(np.ndim(label) == 0 and np.asarray(label).dtype.kind in "biu" for label in labels):
        return _integers(labels, name)
    vectors: list[np.ndarray] = []
    for row, label in enumerate(labels):
        try:
            vectors.append(_vector(label))
        except (TypeError, ValueError) as error:
            raise UserError(f"the labels of {name} must be numbers, got {label!r} for image {row}") from error
        if len(vectors[row]) != len(vectors[0]):
            raise UserError(
                f"image 0 of {name} has {len(vectors[0])} numbers as its label, image {row} {len(vectors[row])}"
            )
    return torch.from_numpy(np.stack(vectors))


def _listed_labels(dataset: Any) -> Tensor | None:
    if isinstance(dataset, Subset):
        inner = _listed_labels(dataset.dataset)
        return None if inner is None else inner[torch.as_tensor(dataset.indices)]
    for attribute in ("targets", "labels"):
        values = getattr(dataset, attribute, None)
        if isinstance(values, Sequence | np.ndarray | Tensor) and len(values) == len(dataset):
            try:
                return _integers(values, type(dataset).__name__)
            except UserError:
                return None
    return None


def _integers(values: Any, name: str) -> Tensor:
    try:
        array = np.asarray(values)
        if array.ndim == 1 and array.dtype.kind in "biu":
            return torch.from_numpy(array.astype(np.int64))
        reason = f"{array.dtype} of shape {array.shape}"
        if array.dtype.kind == "O" and array.ndim == 1:
            row = next(row for row, value in enumerate(values) if np.asarray(value).dtype.kind not in "biu")
            reason = f"{values[row]!r} for image {row}"
    except (TypeError, ValueError) as error:
        reason = str(error)
    raise UserError(f"the labels of {name} must be integers, one per image, got {reason}")
