"""What is wrong with a text, or with the words of a sentence."""

from collections.abc import Sequence
from typing import Any

from distill.utils.errors import shortened

ENCODING_ADVICE = "; data.source.encoding= names another"  # holds in training alone
_KINDS = ((bool, "a truth value"), (int | float, "a number"), (str, "text"), (list, "a list"), (dict, "an object"))


def kind(value: Any) -> str:
    """What a value is, and its beginning.

    Example:
        >>> kind(12), kind(["a"]), kind(None)
        ('a number (12)', "a list (['a'])", 'null')
    """
    if value is None:
        return "null"
    name = next((name for types, name in _KINDS if isinstance(value, types)), type(value).__name__)
    return f"{name} ({shortened(repr(value), 40)})"


def problem(value: Any, what: str = "text") -> str | None:
    """What is wrong with a text; None: nothing.

    Bytes that are no UTF-8 stand in it as Python's ``surrogateescape`` leaves them.
    """
    if not isinstance(value, str):
        return f"the {what} is {kind(value)}{'' if value is None else ', not text'}"
    if not value.strip():
        return f"the {what} is empty"
    if "\0" in value:
        return f"the {what} holds a NUL character{_line_within(value, value.index(chr(0)))}"
    try:
        value.encode()
    except UnicodeEncodeError as error:
        code = ord(value[error.start])
        within = _line_within(value, error.start)
        if 0xDC80 <= code <= 0xDCFF:
            return f"the {what} is no UTF-8 (byte 0x{code - 0xDC00:02x}{within}{ENCODING_ADVICE})"
        return f"the {what} holds half of a surrogate pair (U+{code:04X}{within})"
    return None


def _line_within(text: str, position: int) -> str:
    line = text.count("\n", 0, position) + 1
    return f" in its line {line}" if "\n" in text.rstrip("\n") else ""


def label_problem(label: Any, what: str = "label", may_be_empty: bool = False) -> str | None:
    """What is wrong with a label, whatever the task; None: nothing.

    Args:
        label: the value of its column.
        what: the column.
        may_be_empty: an empty text names no label, as in a column of names of task=multilabel.
    """
    if label is None:
        return f"the {what} is null"
    if not isinstance(label, str) or (may_be_empty and not label.strip()):
        return None
    return problem(label, what)


def words_problem(words: Any, tags: Sequence[Any], what: str) -> str | None:
    """What is wrong with a sentence; None: nothing."""
    if not isinstance(words, list):
        return f"the {what} must be a list of words, got {kind(words)}"
    if not words:
        return f"the {what} are empty"
    for number, word in enumerate(words, 1):
        wrong = problem(word, f"word {number} of the {what}")
        if wrong is not None:
            return wrong
    for values in tags:
        if not isinstance(values, list):
            return f"the tags must be a list, one for each word, got {kind(values)}"
        if len(values) != len(words):
            return f"there are {len(words)} words and {len(values)} tags"
    return None
