r"""Formulas of the pages, blocks of LaTeX behind three backticks and ``math``, as MathML.

GitHub renders the same blocks. MathML needs no script and no network where a page is read.
"""

import re
from typing import Any

from latex2mathml.converter import convert

BLOCK = re.compile(r"^```math\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def mathml(latex: str) -> str:
    r"""A displayed formula as a MathML element.

    Raises:
        ValueError: the converter does not know a part of it and would show it as it is written.

    Example:
        >>> mathml(r"T^2").removeprefix('<math xmlns="http://www.w3.org/1998/Math/MathML" ')
        'display="block"><mrow><msup><mi>T</mi><mn>2</mn></msup></mrow></math>'
    """
    made: str = convert(latex, display="block")
    if found := re.search(r">([^<]*(?:\\|&(?!#?\w+;))[^<]*)<", made):
        raise ValueError(f"{found[1]} is not rendered")
    return made


def fence(source: str, _language: str, css_class: str, *_: Any, **__: Any) -> str:
    """The HTML of a block, as ``pymdownx.superfences`` asks for it."""
    return f'<div class="{css_class}">{mathml(source)}</div>'


def faults(page: str) -> list[str]:
    """The formulas of a page that cannot be rendered, and why."""
    found = []
    for block in BLOCK.finditer(page):
        try:
            mathml(block[1])
        except Exception as error:  # the converter's errors have no common class
            found.append(f"the formula {block[1].strip()}: {type(error).__name__}: {error}")
    return found
