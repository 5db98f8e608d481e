"""Arguments that nobody means: Hydra's grammar would read them for seconds, or deeper than Python's stack."""

import re
from collections.abc import Iterable

from distill.utils.errors import UserError

MOST_CHARACTERS = 10_000  # of one argument
MOST_TOGETHER = 20_000
MOST_ARGUMENTS = 500
MOST_NESTED = 40  # brackets in brackets, or parts of a key
MOST_DIGITS = 300  # a float has no more
_BRACKET = re.compile(r"[\[({]|[\])}]")
_HINT = "so many settings belong into a YAML file of --config-dir"


def check(arguments: Iterable[str]) -> None:
    """Checks that arguments have a key, their lengths, the digits of their numbers and how deep they are nested.

    Raises:
        UserError: the first that has no key or is beyond a limit.

    Example:
        >>> check(["kd.T=" + 50 * "[" + 50 * "]"])
        Traceback (most recent call last):
        distill.utils.errors.UserError: kd.T=... is nested 50 deep; at most 40
    """
    together = 0
    for number, argument in enumerate(arguments, 1):
        if number > MOST_ARGUMENTS:
            raise UserError(f"more than {MOST_ARGUMENTS} arguments: {_HINT}")
        if re.match(r"[+~]*=", argument):
            raise UserError(f"'{argument[:60]}' is no key=value: no key is before the '='")
        key = f"{argument.partition('=')[0][:60]}=..."
        together += len(argument)
        if len(argument) > MOST_CHARACTERS or together > MOST_TOGETHER:
            size = f"{key} has {len(argument)}" if len(argument) > MOST_CHARACTERS else "the arguments have more"
            most = MOST_CHARACTERS if len(argument) > MOST_CHARACTERS else MOST_TOGETHER
            raise UserError(f"{size} characters; at most {most}: {_HINT}")
        if (depth := _depth(argument)) > MOST_NESTED:
            raise UserError(f"{key} is nested {depth} deep; at most {MOST_NESTED}")
        if digits := max(map(len, re.findall(rf"\d{{{MOST_DIGITS + 1},}}", argument.replace("_", ""))), default=0):
            raise UserError(f"{key} has a number of {digits} digits; at most {MOST_DIGITS}")


def _depth(argument: str) -> int:
    """How many brackets are open at once at most, those in quotes as well; or the parts of the key, if more."""
    depth, deepest = 0, argument.partition("=")[0].count(".") + 1
    for bracket in _BRACKET.findall(argument):
        depth += 1 if bracket in "[({" else -1
        deepest = max(deepest, depth)
    return deepest
