"""What ``python evaluate.py`` takes. Nothing heavy is imported here."""

from dataclasses import dataclass

from distill.cli.commands import arg
from distill.utils.errors import UserError, nearest

ABOUT = """
Evaluates the student of a finished run beside its teacher: accuracy, calibration, agreement, the hardest images.
Writes evaluation.json and report.html into the run's folder.

  python evaluate.py run=outputs/2026-01-31/12-00-00
"""
SPLITS = ("test", "val", "train")
BROKEN = ("error", "skip")
MAPS = ("tsne", "pca", "none")


@dataclass
class Options:
    """The keys of ``python evaluate.py``."""

    run: str | None = arg("the run's folder", None)
    checkpoint: str | None = arg("instead of run: a weights file in it, as student-best.safetensors", None)
    split: str = arg("test, val or train", "test")
    data: str | None = arg("another dataset with the same classes: an option of the group data; null: the run's", None)
    root: str | None = arg("of that dataset: its folder, as data.root=", None)
    on_broken: str | None = arg("of that dataset: an unreadable image: error, or skip with a warning; null: as the "
                                "option says", None)  # fmt: skip
    config_dir: str | None = arg("a folder with YAML files of your own, where data= names one of them", None)
    batch_size: int | None = arg("images at a time; null: as the run's test", None)
    against: str | None = arg("folder of a run to compare with: the student trained alone", None)
    teacher: bool = arg("whether to ask the teacher too", True)
    output: str | None = arg("folder for the results; null: the run's", None)
    overwrite: bool = arg("replace files that this command did not write", False)
    report: bool = arg("write report.html", True)
    map: str = arg("the report's map of embeddings: tsne, pca or none", "tsne")


def check(options: Options) -> str:
    """The path of the run or of its weights.

    Raises:
        UserError: a value that is none of the allowed ones; neither or both of run and checkpoint.
    """
    if (options.run is None) == (options.checkpoint is None):
        raise UserError("give run=<folder of a run>, or checkpoint=<weights file of a run>")
    for name, allowed in (("split", SPLITS), ("map", MAPS)):
        given = getattr(options, name)
        if given not in allowed:
            raise UserError(f"there is no {name} '{given}'; {nearest(given, allowed)}")
    if options.batch_size is not None and options.batch_size < 1:
        raise UserError(f"batch_size must be 1 or more, got {options.batch_size}")
    if options.on_broken not in (None, *BROKEN):
        raise UserError(f"there is no on_broken '{options.on_broken}'; {nearest(options.on_broken, BROKEN)}")
    if options.data is None and (options.root or options.config_dir or options.on_broken):
        raise UserError("root=, config_dir= and on_broken= belong to another dataset: give data= too")
    return str(options.run or options.checkpoint)
