"""``distill push <run> <user/name>`` writes an exported student to the Hugging Face Hub."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from distill.cli.commands import launch
from distill.config.options import arg
from distill.evaluation.run_folder import RunFolder
from distill.export.publish import collect
from distill.utils.errors import UserError
from distill.utils.hub_runs import check_name, push as push_files
from distill.utils.units import short

ABOUT = """
Writes the exported student of a finished run to the Hugging Face Hub, with its model card and what distill.load needs.
The login is that of `hf auth login`, or HF_TOKEN.

  {command} outputs/2026-01-31/12-00-00 user/name dry_run=true
  {command} outputs/2026-01-31/12-00-00 user/name private=true
"""


@dataclass
class Options:
    """The keys of ``distill push``."""

    names: list[str] = arg("the run's folder and the repository, user/name; also without names=", [])
    export: str | None = arg("the folder of the export; null: <run>/export", None)
    private: bool = arg("the repository is to be private", False)
    revision: str | None = arg("a branch, made where it is missing; null: the main one", None)
    message: str | None = arg("of the commit; null: names the student", None)
    dry_run: bool = arg("list the files and their sizes; nothing is sent", False)


def push(options: Options) -> None:
    """Collects the files, shows them, sends them.

    Raises:
        UserError: see :class:`RunFolder`, :func:`collect` and :func:`distill.utils.hub_runs.push`.
    """
    if len(options.names) != 2:
        raise UserError(f"give a run's folder and the repository, user/name, got {' '.join(options.names) or 'none'}")
    path, repo = options.names
    check_name(repo)
    if not Path(path).is_dir():
        raise UserError(f"there is no folder {path}: push takes a finished run's")
    run = RunFolder(path)
    files = collect(run, Path(options.export) if options.export else run.folder / "export", repo)
    sizes = {name: len(c) if isinstance(c, bytes) else c.stat().st_size for name, c in sorted(files.items())}
    for name, size in sizes.items():
        print(f"{short(size, 'B'):>8}  {name}")
    print(f"{short(sum(sizes.values()), 'B'):>8}  in {len(sizes)} files", flush=True)
    if options.dry_run:
        return
    message = options.message or f"{run.student_result.name} on {run.summary.data.name}"
    print(push_files(repo, files, options.private, options.revision, message), flush=True)


main = partial(launch, Options, push, ABOUT, rest="names")
