"""``python evaluate.py``."""

import logging
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from distill.cli.commands import launch
from distill.config import own_code, trust
from distill.config.key_sets import COLUMNS
from distill.config.options import arg
from distill.evaluation.results import EvaluationResults
from distill.evaluation.run_folder import RunFolder
from distill.utils.atomic import write_text
from distill.utils.checked import parse
from distill.utils.errors import UserError, nearest
from distill.utils.output_files import as_json, claim

log = logging.getLogger(__name__)

ABOUT = """
Evaluates the student of a finished run beside its teacher: accuracy, calibration, agreement, the hardest samples.
Writes evaluation.json and report.html into the run's folder.

  {command} run=outputs/2026-01-31/12-00-00
"""
SPLITS = ("test", "val", "train")
BROKEN = ("error", "skip")
MAPS = ("tsne", "pca", "none")
OF_OTHER_DATA = ("root", "config_dir", "on_broken", "encoding", *COLUMNS)


@dataclass
class Options:
    """The keys of ``python evaluate.py``."""

    run: str | None = arg("the run's folder", None)
    checkpoint: str | None = arg("instead of run: a weights file in it, as student-last.safetensors", None)
    split: str = arg("test, val or train", "test")
    data: str | None = arg("another dataset with the same classes: an option of the group data; null: the run's", None)
    root: str | None = arg("of that dataset: its folder or file, as data.root=", None)
    on_broken: str | None = arg("of that dataset: an unreadable image or text: error, or skip with a warning; null: as "
                                "the option says", None)  # fmt: skip
    encoding: str | None = arg("of that dataset: of its files of text; null: as in training", None)
    image: str | None = arg("of that dataset: the column of the images; null: found by its name", None)
    text: str | None = arg("of that dataset: the column of the texts; null: as in training", None)
    text_pair: str | None = arg("of that dataset: the column of the second text of each pair; null: likewise", None)
    label: Any = arg("of that dataset: the column of the labels, or a list of them; null: likewise", None)
    config_dir: str | None = arg("a folder with YAML files of your own, where data= names one of them", None)
    batch_size: int | None = arg("samples at a time; null: as the run's test", None)
    against: str | None = arg("folder of a run to compare with: the student trained alone", None)
    teacher: bool = arg("whether to ask the teacher too", True)
    output: str | None = arg("folder for the results; null: the run's", None)
    trust: Any = arg(trust.HELP, None)
    code: str | None = arg(own_code.HELP, None)
    overwrite: bool = arg("replace files that this command did not write", False)
    report: bool = arg("write report.html", True)
    map: str = arg("the report's map of embeddings: tsne, pca or none", "tsne")


def check(options: Options) -> Path:
    """Checks the keys; the path of the run or of its weights.

    Raises:
        UserError: a value that is not allowed; neither or both of run and checkpoint.
    """
    if (options.run is None) == (options.checkpoint is None):
        raise UserError("give run=<folder of a run>, or checkpoint=<weights file of a run>")
    for name, allowed in (("split", SPLITS), ("map", MAPS), ("on_broken", BROKEN)):
        value = getattr(options, name)
        if value is not None and value not in allowed:
            raise UserError(f"there is no {name} '{value}'; {nearest(value, allowed)}")
    if options.batch_size is not None and options.batch_size < 1:
        raise UserError(f"batch_size must be 1 or more, got {options.batch_size}")
    if options.data is None:
        given = [f"{key}=" for key in OF_OTHER_DATA if getattr(options, key) is not None]
        if given:
            raise UserError(f"{' and '.join(given)} belongs to another dataset: give data= too")
    return Path(options.run or options.checkpoint or "")


def suffix(options: Options, weights: str) -> str:
    """The suffix of this evaluation's files: empty for the run's test, else "-val", "-last", "-text-mails-test".

    Example:
        >>> suffix(Options(split="val"), "student-last.safetensors")
        '-last-val'
        >>> suffix(Options(data="text", root="new/mails.jsonl"), "student")
        '-text-mails-test'
    """
    parts = [Path(weights).stem.removeprefix("student").strip("-"), options.data or "", _root_name(options.root)]
    parts.append(options.split if options.split != "test" or options.data else "")
    return "".join(f"-{part}" for part in parts if part)


def _root_name(root: str | None) -> str:
    """The last part of a root, of a file without its ending, of characters that any file's name may have."""
    if root is None:
        return ""
    path = Path(root).resolve()
    return re.sub(r"[^\w.-]+", "_", path.name if path.is_dir() else path.stem)[:80].strip("_")


def _root_path(root: str | None) -> str | None:
    """A root as it is recorded: the whole path of what is there."""
    return root if root is None or not Path(root).exists() else str(Path(root).resolve())


def _check_root(path: Path, root: str | None) -> None:
    """A UserError where an evaluation of another root of the same name would be replaced."""
    try:
        other = parse(path).get("root") if path.is_file() else None
    except (OSError, ValueError):
        return  # a damaged file, which may be replaced
    if other is not None and other != _root_path(root):
        raise UserError(f"{path} is of root={other}: choose another output=, or overwrite=true")


def _data(options: Options, run: Any) -> Any:
    """The run's data, or the others that the options name."""
    from distill.evaluation.data import OtherData, other_data

    if options.data is None:
        return run.data
    asked = OtherData(
        name=options.data,
        root=options.root,
        split=options.split,
        config_dir=options.config_dir,
        on_broken=options.on_broken,
        encoding=options.encoding,
        columns={key: value for key in COLUMNS if (value := getattr(options, key)) is not None},
    )
    return other_data(run, asked)


def evaluate(options: Options) -> None:
    """Evaluates, writes evaluation.json and report.html, prints the table.

    Raises:
        UserError: any mistake of the user, before a model is evaluated.
    """
    path = check(options)
    run_folder = RunFolder(path)
    _ = run_folder.tested  # raises where these weights were not tested
    if run_folder.summary.data.targets == "none" and not options.teacher:
        raise UserError("teacher=false: embeddings are measured against the teacher's, and this run gives embeddings")
    if options.against:
        run_folder.check_comparable(RunFolder(options.against))
    folder = run_folder.results_folder(options.output)
    end = suffix(options, path.name if path.is_file() else "student")
    files = [folder / f"evaluation{end}.json", *([folder / f"report{end}.html"] if options.report else [])]
    claim(files, options.overwrite)
    if not options.overwrite:
        _check_root(files[0], options.root)
    from distill.evaluation.evaluate import Subject, evaluate as evaluate_models
    from distill.evaluation.reporting.page import page
    from distill.evaluation.reporting.table import show
    from distill.evaluation.runs import Run

    run = Run(path, options.trust, options.code)
    baseline = Run(options.against, options.trust, options.code) if options.against else None
    for each in (run, baseline):
        if each is not None:
            _ = each.student  # raises for unreadable weights before the data are loaded
    if options.teacher:
        try:
            _ = run.teacher
        except UserError as error:
            raise UserError(f"{error} (teacher=false evaluates the student without it)") from error
    subject = Subject(
        run=run,
        baseline=baseline,
        data=_data(options, run),
        name=options.data or run.summary.data.name,
        split=options.split,
        batch_size=options.batch_size,
        teacher=options.teacher,
        root=_root_path(options.root),
    )
    evaluation = evaluate_models(subject)
    _warn(evaluation.results)
    write_text(files[0], as_json(evaluation.results.as_json()))
    if options.report:
        write_text(files[1], page(evaluation, options.map))
    show(evaluation.results, files)


def _warn(results: EvaluationResults) -> None:
    """Warns where the metrics differ from those of the run's own test."""
    reproduced = results.reproduced
    if reproduced is None or reproduced.equal:
        return
    pairs = [f"{name} {pair['then']} then, {pair['now']} now" for name, pair in reproduced.values.items()
             if pair["then"] != pair["now"]]  # fmt: skip
    log.warning(f"the run's own numbers did not come out again: {'; '.join(pairs)}")


main = partial(launch, Options, evaluate, ABOUT)
