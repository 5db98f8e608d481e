"""Anchors of headings as GitHub makes them, so that a link holds in the repository and on the site."""

import re


def github(text: str, separator: str) -> str:
    """The anchor of a heading.

    Example:
        >>> github("How T and α matter: a → b", "-")
        'how-t-and-α-matter-a--b'
    """
    return re.sub(r"\s", separator, re.sub(r"[^\w\- ]", "", text.strip().lower()))
