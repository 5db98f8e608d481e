"""Names that columns with images, texts and labels usually have."""

from collections.abc import Sequence
from typing import Any, Literal

Role = Literal["image", "mask", "label", "text_label", "text", "text_pair", "words", "tags", "messages"]
_USUAL_NAMES = {
    "image": ("image", "img", "images", "imgs"),
    "mask": ("mask", "label", "annotation", "segmentation", "masks", "labels", "segmentation_mask", "label_image"),
    "label": ("label", "labels", "fine_label", "target", "class"),
    "text_label": (
        *("label", "labels", "target", "class", "category", "score", "gold_label", "is_duplicate", "quality"),
        *("sentiment", "intent", "topic", "stars", "rating"),
    ),
    "text": (
        *("text", "sentence", "content", "review", "texts", "question", "document", "comment", "tweet", "message"),
        *("utterance", "body", "sentence1", "premise", "question1", "text_a", "text1"),
    ),
    "text_pair": ("text_pair",),
    "words": ("tokens", "words", "token", "word"),
    "messages": ("messages",),
    "tags": ("ner_tags", "tags", "ner", "pos_tags", "labels", "label"),
}
TEXT_PAIRS = (  # in small letters
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("text_a", "text_b"),
    ("text1", "text2"),
    ("text", "text_pair"),
    ("question", "sentence"),
    ("#1 string", "#2 string"),  # MRPC as GLUE distributes it
)
_IN_MAPPINGS = {"image": ("pixel_values", "input", "inputs", "x", "data"), "label": ("targets", "y")}


def chosen_column(choice: Any, columns: Sequence[str]) -> str | None:
    """The column that a user names; None: there is none.

    The command line makes numbers of names that look like one (1e30, 2.50): these are compared by their value.

    Example:
        >>> chosen_column(1e30, ["text", "1e30"])
        '1e30'
    """
    if choice in columns:
        return str(choice)
    value = _number(choice)
    return None if value is None else next((name for name in columns if _number(name) == value), None)


def _number(name: Any) -> float | None:
    try:
        return None if isinstance(name, bool) else float(name)
    except (TypeError, ValueError):
        return None


def usual_columns(columns: Sequence[str], role: Role, in_mapping: bool = False) -> list[str]:
    """The columns with a name that is usual for what they hold, the most usual first, in other capitals last.

    Args:
        columns: of a table, or the keys of a dataset's items.
        role: what the column holds.
        in_mapping: they are keys: names that are usual in training code count too.
    """
    names = _USUAL_NAMES[role] + (_IN_MAPPINGS.get(role, ()) if in_mapping else ())
    same = [name for name in names if name in columns]
    return same + [column for name in names for column in columns if column.lower() == name != column]
