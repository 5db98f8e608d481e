"""Datasets in memory as texts: lists of texts, of (text, label), or of mappings."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from distill.data.column_names import TEXT_PAIRS, usual_columns
from distill.data.targets import UNLABELLED, Targets
from distill.data.text.dataset import BLOCK, Places, TextSet
from distill.utils.errors import UserError

_EXPECTED = 'texts, tuples (text, label) or mappings as {"text": ..., "label": ...}'


def as_text_set(data: Any, targets: Targets) -> TextSet:
    """A ``TextSet`` as it is; a sequence of texts, of (text, label), or of mappings with such keys as one.

    Labels are whole numbers or text (classes, then sorted), floats, or lists of numbers.

    Raises:
        UserError: items that are none of these.
    """
    if isinstance(data, TextSet):
        return data
    if not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        raise UserError(f"a source of texts must return {_EXPECTED}, got {type(data).__name__}")
    if targets == "tokens":
        raise UserError("a source of words and tags must return TextSet, as distill.data.sources.texts does")
    import pyarrow as pa

    arrays: list[list[Any]] = [[], []]
    labels: list[Any] = []
    for start in range(0, len(data), BLOCK):
        items = [_item(data[row], row, targets) for row in range(start, min(start + BLOCK, len(data)))]
        labels += [label for *_, label in items]
        for array, texts in zip(arrays, zip(*[(text, pair) for text, pair, _ in items], strict=True), strict=True):
            array.append(pa.array(texts, pa.large_string()))
    first, second = (pa.chunked_array(array, pa.large_string()) for array in arrays)
    if second.null_count not in (0, len(second)):
        raise UserError("some of the texts are pairs, and some are not")
    pairs = None if second.null_count else second
    places = Places.of_rows("the data set", range(1, len(data) + 1), "row")
    if targets in UNLABELLED:
        return TextSet(first, places, pairs)
    classes = None
    if all(isinstance(label, str) for label in labels):
        classes = sorted(set(labels))
        labels = [classes.index(label) for label in labels]
    try:
        tensor = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            "the labels must be all whole numbers, all text, all floats, or all lists of numbers"
        ) from error
    return TextSet(first, places, pairs, tensor, classes=classes)


def _item(item: Any, row: int, targets: Targets) -> tuple[str, str | None, Any]:
    """The text of an item, perhaps a second one, and the label."""
    texts: Sequence[Any] = ()
    label: Any = None
    if isinstance(item, str):
        texts = (item,)
    elif isinstance(item, Mapping):
        pair = next((pair for pair in TEXT_PAIRS if {*pair} <= item.keys()), None)
        texts = [item[name] for name in pair or usual_columns([*item], "text")[:1]]
        label = next((item[name] for name in usual_columns([*item], "text_label")), None)
    elif isinstance(item, tuple | list) and len(item) == 2:
        texts, label = [item[0]] if isinstance(item[0], str) else item[0], item[1]
    if not texts or not all(isinstance(text, str) for text in texts) or len(texts) > 2:
        raise UserError(f"a source of texts must return {_EXPECTED}; item {row} is {str(item)[:60]!r}")
    if any(not text.strip() for text in texts):
        raise UserError(f"the text of item {row} is empty")
    if label is None and targets not in UNLABELLED:
        raise UserError(f"item {row} has no label: {_EXPECTED}")
    return texts[0], texts[1] if len(texts) > 1 else None, label
