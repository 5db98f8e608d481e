"""``python export.py``."""

from functools import partial
from pathlib import Path

from distill.cli.commands import launch
from distill.evaluation.run_folder import RunFolder
from distill.export.options import Options, check
from distill.utils.atomic import atomic_folder
from distill.utils.errors import UserError
from distill.utils.output_files import check_parents

ABOUT = """Exports the student alone of a finished run, runs the files on test samples beside the PyTorch model, and
writes a model card (README.md) and the measurements (export.json) beside them.

  {command} run=outputs/2026-01-31/12-00-00 format=onnx
  {command} run=outputs/2026-01-31/12-00-00 format=onnx,torch_export,safetensors quantize=int8
  {command} run=outputs/2026-01-31/13-00-00 quantize=int8 against=outputs/2026-01-31/12-00-00"""


def folder_of(options: Options, run: RunFolder) -> Path:
    """The folder of the export of a run.

    Raises:
        UserError: it exists and may not be replaced, is no export, lies below a file, or is the current folder.
    """
    folder = run.results_folder(options.output) / ("" if options.output else "export")
    check_parents(folder)
    if folder.resolve() == Path.cwd():
        raise UserError(f"output={folder} is the current folder, which cannot be replaced as a whole: name another")
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return folder
    if not options.overwrite:
        raise UserError(f"{folder} exists: choose another output=, or overwrite=true")
    if not (folder / "export.json").is_file():
        raise UserError(f"{folder} is no earlier export (it has no export.json): it is not overwritten")
    return folder


def export(options: Options) -> int:
    """Checks the keys, writes the folder (atomically), prints the table."""
    names = check(options)
    run_folder = RunFolder(options.run)
    _ = run_folder.tested  # raises where these weights were not tested
    if options.against:
        run_folder.check_comparable(RunFolder(options.against))
    folder = folder_of(options, run_folder)
    from distill.export.pipeline import export as write_files
    from distill.export.table import show

    with atomic_folder(folder.resolve()) as temporary:
        report = write_files(options, names, temporary)
    show(report, folder)
    return 0


main = partial(launch, Options, export, ABOUT)
