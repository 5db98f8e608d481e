"""The report of a sweep: a table on the terminal, results.csv and report.html."""

import sys
from pathlib import Path

from distill.sweeps.report.references import References
from distill.sweeps.report.results import read
from distill.sweeps.report.table import FIRST_COLUMNS, as_csv, print_report
from distill.utils.atomic import write_text
from distill.utils.errors import UserError, first_line
from distill.utils.invocation import invocation
from distill.utils.output_files import check_file_path, claim

CSV, PAGE = "results.csv", "report.html"


def _is_own_table(table: Path) -> bool:
    """Whether a CSV file begins with this command's columns."""
    try:
        with table.open() as file:
            return file.readline().startswith(",".join(FIRST_COLUMNS))
    except (OSError, UnicodeDecodeError):
        return False


def _check_output(folder: Path, sweep: Path, overwrite: bool) -> None:
    """Refuses (``UserError``) to overwrite files that were not written by this command."""
    if (sweep / "evaluation.json").exists() and folder.resolve() == sweep.resolve() and not overwrite:
        raise UserError(f"{sweep / PAGE} is evaluate.py's page of this run: choose output=, or overwrite=true")
    table = folder / CSV
    check_file_path(table)
    if table.exists() and not overwrite and not _is_own_table(table):
        raise UserError(f"{table} exists and was not written by this command: choose output=, or overwrite=true")
    claim([folder / PAGE], overwrite)


def write_report(
    sweep: Path, baseline: Path | None = None, output: Path | None = None, overwrite: bool = False
) -> None:
    """Prints the table and writes the files.

    Args:
        sweep: its folder, or a run's.
        baseline: a run's or a sweep's folder with the student alone; None: the sweep's own runs of that kind.
        output: where the files go; None: the sweep's folder.
        overwrite: whether files of other commands are replaced.

    Raises:
        UserError: a folder that is none or cannot be written to, a baseline that is none.
    """
    results = read(sweep)
    references = References(results, baseline)
    folder = output or sweep
    _check_output(folder, sweep, overwrite)
    print_report(results, references)
    from distill.sweeps.report.page import page

    write_text(folder / CSV, as_csv(results))
    write_text(folder / PAGE, page(results, references))
    print(f"results: {folder / CSV}, {folder / PAGE}", flush=True)


def report_at_end(sweep: Path) -> None:
    """The report at the end of a sweep; an error in it is a warning, for the jobs have finished."""
    try:
        write_report(sweep)
    except Exception as error:
        print(f"warning: the sweep's report could not be made: {first_line(error)}; its jobs are not touched: "
              f"{invocation('report', str(sweep))}", file=sys.stderr, flush=True)  # fmt: skip
