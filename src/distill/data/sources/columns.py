"""Tables with an image column and a label column: which they are, and what their labels mean."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distill.utils.errors import UserError

IMAGE_NAMES = ("image", "img", "images", "imgs")
LABEL_NAMES = ("label", "labels", "fine_label", "target", "class")


def find(
    columns: Sequence[str], given: str | None, names: Sequence[str], typed: Sequence[str], what: str, where: str
) -> str:
    """The image or label column.

    Args:
        columns: the table's.
        given: the user's choice; None: the first of ``names`` that is there, else the only one of ``typed``.
        names: usual names.
        typed: columns whose type fits.
        what: "image" or "label".
        where: the table, for the error.
    """
    if given is not None:
        found = [given] if given in columns else []
    else:
        found = [name for name in names if name in columns][:1] or (list(typed) if len(typed) == 1 else [])
    if not found:
        problem = "no column could be taken for the" if given is None else f"there is no {given!r} as the"
        raise UserError(
            f"{where}: {problem} {what} column; set data.source.{what}_column to one of {', '.join(columns)}"
        )
    return found[0]


def features(schema: Any) -> dict[str, Any]:
    """The Hugging Face features in a pyarrow schema's metadata, by column; empty where there are none."""
    import json

    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def of_type(found: Mapping[str, Any], kind: str) -> list[str]:
    """The columns whose feature is of a type, as "Image"."""
    return [name for name, feature in found.items() if isinstance(feature, dict) and feature.get("_type") == kind]


def class_names(feature: Any) -> list[str] | None:
    """A ClassLabel feature's names in order; None for another feature."""
    names = feature.get("names") if isinstance(feature, dict) else None
    if isinstance(names, dict):  # {"0": "cat", ...}, as datasets writes long lists in README headers
        names = [names[key] for key in sorted(names, key=int)]
    return None if names is None else [str(name) for name in names]


def text_classes(values: Sequence[Any]) -> list[str] | None:
    """The sorted class names where labels are text; None where they are not."""
    return sorted({str(value) for value in values}) if values and isinstance(values[0], str) else None


def numbers(values: Sequence[Any], classes: Sequence[str] | None, name: Any) -> Tensor:
    """Labels as int64 (N,).

    Args:
        values: integers, or text that stands in ``classes``.
        classes: the names.
        name: a callable that names a row, for errors.

    Raises:
        UserError: for a null, text that is no class, or another type; it names the row and the value.
    """
    for row, value in enumerate(values):
        if value is None:
            raise UserError(f"the label of {name(row)} is null")
        if isinstance(value, str) and (classes is None or value not in classes):
            raise UserError(f"the label of {name(row)} is {value!r}, which is no class of the training split")
        if not isinstance(value, str | int | np.integer):
            raise UserError(f"the label of {name(row)} must be a whole number or text, got {value!r}")
    if values and isinstance(values[0], str):
        position = {label: number for number, label in enumerate(classes or ())}
        return torch.tensor([position[value] for value in values])
    return torch.tensor([int(value) for value in values], dtype=torch.int64)
