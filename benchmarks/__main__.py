"""The command: ``make bench``, or ``python -m benchmarks key=value ...``."""

from dataclasses import dataclass
from pathlib import Path

from distill.cli.commands import launch
from distill.config.options import arg
from distill.utils.errors import UserError, check_choice, check_range

ABOUT = """\
Measures how fast this program trains, beside torchdistill and beside a bare loop, on this machine, and writes
docs/benchmarks.md. It needs torchdistill: make bench installs it."""


@dataclass
class Options:
    """The keys."""

    only: str | None = arg(
        "some of live, cached, float32, sweep, start, texts, together, teacher, peak, sizes, many_texts, profile; page",
        None,
    )
    rounds: int | None = arg("turns of every side", None)
    quick: bool = arg("a few steps of each, to see that it works", False)
    data: str | None = arg("folder with CIFAR-10 as train*.parquet and test*.parquet; null: made-up images", None)
    texts: str | None = arg("jsonl file of texts with labels; null: made-up texts", None)
    many: str | None = arg("numbers of training texts, as 10000,200000, of many_texts; null: up to a million", None)
    docs: str = arg("folder that gets benchmarks.md, benchmarks/ and images/", "docs")
    work: str = arg("folder for what the sides write; deleted first", "outputs/bench")


def main(options: Options) -> int:
    """Measures what was asked for, then writes the page."""
    from benchmarks.settings import GROUPS

    chosen = [name.strip() for name in options.only.split(",")] if options.only else [*GROUPS]
    for name in chosen:
        check_choice("only", name, [*GROUPS, "profile", "page"], shown=12)
    check_range("rounds", options.rounds, 1)
    if options.data is not None and not any(Path(options.data).glob("train*.parquet")):
        raise UserError(f"data={options.data}: no train*.parquet there")
    if options.texts is not None and not Path(options.texts).is_file():
        raise UserError(f"texts={options.texts}: no such file")
    counts = [count.strip() for count in str(options.many or "").split(",") if count.strip()]
    if not all(map(str.isdecimal, counts)):
        raise UserError(f"many={options.many} must be whole numbers with commas between")
    from benchmarks.command import bench

    texts = None if options.texts is None else Path(options.texts)
    docs, work = Path(options.docs), Path(options.work)
    bench(chosen, options.rounds, options.quick, options.data, texts, docs, work, tuple(map(int, counts)))
    return 0


if __name__ == "__main__":
    launch(Options, main, ABOUT)
