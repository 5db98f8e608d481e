"""Texts of the training split that stand in another one as well."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from distill.data.splits import Split
from distill.data.text.dataset import TextSet

log = logging.getLogger(__name__)

MOST_SHARED = 0.1  # of a split's texts; above it, its scores say little about new texts


def warn_of_shared(splits: Mapping[str, Split[TextSet]]) -> None:
    """A warning for each split of whose texts more than a tenth are training texts, as where a file was copied."""
    train = _hashes(splits["train"])
    for name in [each for each in splits if each != "train"]:
        shared = np.isin(_hashes(splits[name]), train)
        if shared.mean() > MOST_SHARED:
            log.warning(
                "%d of the %d %s texts are training texts too (%.3g %%): its scores say little about new texts",
                shared.sum(), len(shared), name, 100 * shared.mean(),
            )  # fmt: skip


def _hashes(split: Split[TextSet]) -> "np.ndarray[Any, Any]":
    """A number for each text, pair or sentence, int64 (N,)."""
    blocks = split.dataset.blocks(split.rows)
    numbers = (hash(text if isinstance(text, str) else tuple(text)) for block in blocks for text in block)
    return np.fromiter(numbers, dtype=np.int64, count=len(split.rows))
