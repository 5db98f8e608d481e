"""``python compare.py``: several runs as one table and one page."""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from distill.cli.commands import launch
from distill.config.options import arg
from distill.evaluation.compare.entries import entries, warnings
from distill.utils.atomic import write_text
from distill.utils.errors import UserError
from distill.utils.output_files import claim

log = logging.getLogger(__name__)

ABOUT = """
Shows several finished runs side by side: a table, and the page compare.html.
ECE and NLL are there for runs that python evaluate.py has seen.

  {command} outputs/2026-01-31/12-00-00 outputs/2026-01-31/13-00-00
"""


@dataclass
class Options:
    """The keys of ``python compare.py``."""

    runs: list[str] = arg("folders of runs, two or more; also without runs=", [])
    output: str = arg("the page", "compare.html")
    overwrite: bool = arg("replace a file that this command did not write", False)


def compare(options: Options) -> None:
    """Reads the runs, prints the table, writes the page.

    Raises:
        UserError: see :func:`entries`; the page exists and was not written by this command.
    """
    page = Path(options.output)
    if page.suffix != ".html":
        raise UserError(f"output must be a .html file, got {options.output}")
    claim([page], options.overwrite)
    runs = entries([Path(folder) for folder in options.runs])
    from distill.evaluation.compare.page import render_page
    from distill.evaluation.compare.table import show

    differences = warnings(runs)
    for line in differences:
        log.warning(line)
    write_text(page, render_page(runs, differences))
    show(runs, page)


main = partial(launch, Options, compare, ABOUT, rest="runs")
