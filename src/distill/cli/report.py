"""``python report.py <folder of a sweep>``, and the same at a sweep's end."""

import sys
from dataclasses import dataclass
from pathlib import Path

from distill.cli.commands import arg
from distill.sweeps.report.findings import Findings, read
from distill.sweeps.report.references import References
from distill.sweeps.report.table import FIRST, as_csv, show
from distill.utils.errors import UserError, first_line
from distill.utils.output_files import claim, write
from distill.utils.paths import file_place

ABOUT = """
Shows what a sweep found, at any time: a table, results.csv and report.html in its folder.

  python report.py outputs/sweeps/2026-01-31/12-00-00
  python report.py outputs/sweeps/2026-01-31/12-00-00 baseline=outputs/2026-01-31/13-00-00
"""
CSV, PAGE = "results.csv", "report.html"


def _ours(table: Path) -> bool:
    """Whether a CSV file begins as this command's does."""
    try:
        with table.open() as file:
            return file.readline().startswith(",".join(FIRST))
    except (OSError, UnicodeDecodeError):
        return False


def _claim(folder: Path, sweep: Path, overwrite: bool) -> None:
    """Refuses to replace what somebody else wrote.

    Raises:
        UserError: so it is.
    """
    if (sweep / "evaluation.json").exists() and folder.resolve() == sweep.resolve() and not overwrite:
        raise UserError(f"{sweep / PAGE} is evaluate.py's page of this run: choose output=, or overwrite=true")
    table = folder / CSV
    file_place(table)
    if table.exists() and not overwrite and not _ours(table):
        raise UserError(f"{table} exists and was not written by this command: choose output=, or overwrite=true")
    claim([folder / PAGE], overwrite)


def _write(findings: Findings, references: References, folder: Path) -> None:
    from distill.sweeps.report.page import page

    write(as_csv(findings), folder / CSV)
    write(page(findings, references), folder / PAGE)
    print(f"results: {folder / CSV}, {folder / PAGE}", flush=True)


def answer(sweep: Path, baseline: Path | None = None, output: Path | None = None, overwrite: bool = False) -> None:
    """Prints the table and writes the files.

    Args:
        sweep: its folder, or a run's.
        baseline: a run's or a sweep's folder with the student alone; None: the sweep's own points of that kind.
        output: where the files go; None: the sweep's folder.
        overwrite: whether files of others are replaced.

    Raises:
        UserError: a folder that is none or cannot be written to, a baseline that is none.
    """
    findings = read(sweep)
    references = References(findings, baseline)
    folder = output or sweep
    _claim(folder, sweep, overwrite)
    show(findings, references)
    _write(findings, references, folder)


def at_end(sweep: Path) -> None:
    """The answer at the end of a sweep, which no mistake in it may turn into a failure."""
    try:
        answer(sweep)
    except Exception as error:
        print(f"warning: the sweep's report could not be made: {first_line(error)}; its jobs are not touched: "
              f"python report.py {sweep}", file=sys.stderr, flush=True)  # fmt: skip


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
        UserError: not one sweep, or see :func:`answer`.
    """
    if len(options.sweep) != 1:
        raise UserError(f"give the folder of one sweep, got {len(options.sweep) or 'none'}")
    baseline, output = (Path(path) if path else None for path in (options.baseline, options.output))
    answer(Path(options.sweep[0]), baseline, output, options.overwrite)
