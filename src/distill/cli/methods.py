"""``distill methods`` lists what ``kd=`` takes, with a line each."""

import argparse
from collections.abc import Sequence

from distill.config.compose import CONF


def methods() -> dict[str, str]:
    """Name and first line of every option of the group ``kd``."""
    files = sorted((CONF / "kd").glob("*.yaml"))
    return {file.stem: file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ") for file in files}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line and prints the list."""
    argparse.ArgumentParser(prog="distill methods", description="lists what kd= takes").parse_args(arguments)
    lines = methods()
    width = max(map(len, lines))
    for name, line in lines.items():
        print(f"{name:<{width}}  {line}")
