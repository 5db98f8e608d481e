"""``python evaluate.py``: mistakes first, then the work, then what it gave."""

import sys
from pathlib import Path
from typing import Any

from distill.cli.evaluate_options import Options, check
from distill.evaluation.run_folder import Record
from distill.utils.errors import UserError
from distill.utils.output_files import as_json, claim, write


def suffix(options: Options, weights: str) -> str:
    """What tells this evaluation's files from the ones of the run's test: "-val", "-best", "-photos-test".

    Example:
        >>> suffix(Options(split="val"), "student-best.safetensors")
        '-best-val'
    """
    parts = [Path(weights).stem.removeprefix("student").strip("-"), options.data or ""]
    parts.append(options.split if options.split != "test" or options.data else "")
    return "".join(f"-{part}" for part in parts if part)


def evaluate(options: Options) -> None:
    """Evaluates, writes evaluation.json and report.html, prints the table.

    Args:
        options: the keys of the command line.

    Raises:
        UserError: any mistake, before a model is asked.
    """
    path = Path(check(options))
    record = Record(path)
    _ = record.tested
    if options.against:
        record.check_beside(Record(options.against))
    folder = Path(options.output) if options.output else path if path.is_dir() else path.parent
    end = suffix(options, path.name if path.is_file() else "student")
    files = [folder / f"evaluation{end}.json", *([folder / f"report{end}.html"] if options.report else [])]
    claim(files, options.overwrite)
    from distill.evaluation.data import other_data
    from distill.evaluation.evaluate import Subject
    from distill.evaluation.evaluate import evaluate as work
    from distill.evaluation.reporting.page import page
    from distill.evaluation.reporting.table import show
    from distill.evaluation.runs import Run

    run = Run(path)
    alone = Run(options.against) if options.against else None
    for each in (run, alone):
        if each is not None:
            _ = each.student  # weights that cannot be read show before the data load
    if options.teacher:
        try:
            _ = run.teacher
        except UserError as error:
            raise UserError(f"{error} (teacher=false evaluates the student without it)") from error
    if options.data is None:
        data, order, name = run.data, None, str(run.report["data"]["name"])
    else:
        data, order = other_data(run, options.data, options.root, options.split, options.config_dir, options.on_broken)
        name = options.data
    made = work(Subject(run, alone, data, order, name, options.split, options.batch_size, options.teacher))
    _warn(made.results)
    write(as_json(made.results), files[0])
    if options.report:
        write(page(made, options.map), files[1])
    show(made.results, files)


def _warn(results: dict[str, Any]) -> None:
    """A line where the run's own numbers did not come out again."""
    found = results["reproduced"]
    if found is None or found["equal"]:
        return
    pairs = [f"{name} {pair['then']} then, {pair['now']} now" for name, pair in found["values"].items()
             if pair["then"] != pair["now"]]  # fmt: skip
    print(f"warning: the run's own numbers did not come out again: {'; '.join(pairs)}", file=sys.stderr, flush=True)
