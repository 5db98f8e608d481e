"""Names that columns with images and with labels usually have."""

from collections.abc import Sequence
from typing import Literal

Role = Literal["image", "label"]
_USUAL_NAMES = {
    "image": ("image", "img", "images", "imgs"),
    "label": ("label", "labels", "fine_label", "target", "class"),
}
_IN_MAPPINGS = {"image": ("pixel_values", "input", "inputs", "x", "data"), "label": ("targets", "y")}


def usual_columns(columns: Sequence[str], role: Role, in_mapping: bool = False) -> list[str]:
    """The columns with a name that is usual for what they hold, the most usual first, in other capitals last.

    Args:
        columns: of a table, or the keys of a dataset's items.
        role: what the column holds.
        in_mapping: they are keys: names that are usual in training code count too.
    """
    names = _USUAL_NAMES[role] + (_IN_MAPPINGS[role] if in_mapping else ())
    same = [name for name in names if name in columns]
    return same + [column for name in names for column in columns if column.lower() == name != column]
