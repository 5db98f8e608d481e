"""The targets of another dataset by the outputs of a run: the same name is the same class, label or number."""

from collections.abc import Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor

from distill.data import Targets
from distill.utils.errors import UserError

SHOWN = 5
_WORDS = {"classes": "classes", "tokens": "tags", "multilabel": "labels", "numbers": "numbers"}


def match_outputs(
    dataset: Any, names: Sequence[str], outputs: Sequence[str], targets: Targets, name: str, needs_all: bool
) -> Any:
    """The dataset with targets as the run's models predict them; what some of its samples have must be among these.

    Args:
        dataset: as ``check_targets`` leaves it.
        names: of its classes, or of its columns.
        outputs: of the run.
        targets: of the run's task.
        name: of the data, for errors.
        needs_all: a label that the data do not name is not known to be absent, as of columns of 0 and 1.

    Raises:
        UserError: a class, label or number that the run does not have, or that the data lack.
    """
    if targets == "none" or list(names) == list(outputs):
        return dataset
    by_word = targets == "tokens"
    values: Tensor = dataset.tags if by_word else dataset.labels
    needs_all_named = targets == "masks"  # which of them the pixels have is not looked for
    one_column = targets in ("classes", "tokens")
    used = torch.unique(values).tolist() if one_column else values.any(0).nonzero().flatten().tolist()
    asked = range(len(names)) if needs_all or needs_all_named else used
    unknown = [names[i] for i in asked if names[i] not in outputs]
    missing = [each for each in outputs if each not in names]
    if unknown or (needs_all and missing):
        raise UserError(
            f"the {_WORDS[targets]} of data={name} ({len(names)}) are not those of the run ({len(outputs)}): "
            f"only there: {_listed(unknown)}; only in the run: {_listed(missing)}"
        )
    places = {output: number for number, output in enumerate(outputs)}
    if len(places) < len(outputs) or len(set(names)) < len(names):
        raise UserError(f"the {_WORDS[targets]} of data={name} or of the run have one name twice: rename one")
    at = torch.tensor([places.get(each, -1) for each in names])
    dataset = copy(dataset)  # the source may return the same object again
    if targets == "masks":
        return dataset.renumbered(at)
    if by_word:
        dataset.tags = at[values]
    elif one_column:
        dataset.labels = at[values]
    else:
        dataset.labels = torch.zeros(len(values), len(outputs))
        dataset.labels[:, at[at >= 0]] = values[:, at >= 0]
    return dataset


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "") or "none"
