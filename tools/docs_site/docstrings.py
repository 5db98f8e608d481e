"""An extension of Griffe, which reads the docstrings for the Python interface: this package's style of them."""

import re
from typing import Any

import griffe


class Style(griffe.Extension):
    """``Example:`` is a section with code, and roles such as ``:func:`` are code."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for everything that has a docstring."""
        if obj.docstring:
            text = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", text)


__all__ = ["Style"]
