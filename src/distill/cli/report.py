"""``python report.py <folder of a sweep>``."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from distill.cli.commands import launch
from distill.config.options import arg
from distill.sweeps.report.files import write_report
from distill.utils.errors import UserError

ABOUT = """
Shows what a sweep found, at any time: a table, results.csv and report.html in its folder.

  {command} outputs/sweeps/2026-01-31/12-00-00
  {command} outputs/sweeps/2026-01-31/12-00-00 baseline=outputs/2026-01-31/13-00-00
"""


@dataclass
class Options:
    """The keys of ``python report.py``."""

    sweep: list[str] = arg("the sweep's folder, or a run's; also without sweep=", [])
    baseline: str | None = arg("folder of a run or sweep of the student alone; null: the sweep's own such points", None)
    output: str | None = arg("folder for the results; null: the sweep's", None)
    overwrite: bool = arg("replace files that this command did not write", False)


def report(options: Options) -> None:
    """The command.

    Raises:
        UserError: not one sweep, or see :func:`write_report`.
    """
    if len(options.sweep) != 1:
        raise UserError(f"give the folder of one sweep, got {len(options.sweep) or 'none'}")
    baseline, output = (Path(path) if path else None for path in (options.baseline, options.output))
    write_report(Path(options.sweep[0]), baseline, output, options.overwrite)


main = partial(launch, Options, report, ABOUT, rest="sweep")
