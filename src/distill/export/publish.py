"""What ``distill push`` writes to the Hugging Face Hub: an export, and what ``distill.load`` needs beside it."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from distill.config.command_line import hydra_value
from distill.evaluation.run_folder import RunFolder
from distill.training.summary import FILE, ModelResult, RunSummary, TeacherResult
from distill.utils import checked
from distill.utils.errors import UserError
from distill.utils.invocation import invocation

REPORT, CARD = "export.json", "README.md"
KINDS = {".json", ".md", ".onnx", ".pt2", ".safetensors", ".txt", ".model", ".jinja"}
TEXTS = {".json", ".md"}  # in which a path of this machine may stand
_LOADED = re.compile(r"distill\.load\('[^'\n]*'")
USE = """
## With distill

```python
import distill

model = distill.load("{repo}")
model.predict([{sample}])
```
"""


def collect(run: RunFolder, export: Path, repo: str) -> dict[str, Path | bytes]:
    """The files of a repository by their paths in it.

    Texts name the home folder as ``~``, and the summary names neither host nor process.

    Args:
        run: whose student is published.
        export: the folder of its export.
        repo: ``user/name``, for the model card.

    Raises:
        UserError: there is no export, or it is of other weights.
    """
    _check_export(run, export)
    files: dict[str, Path | bytes] = {}
    for path in _below(export):
        name = path.relative_to(export).as_posix()
        files[name] = _anonymous(path.read_text(encoding="utf-8")) if path.suffix in TEXTS else path
    sample = '"a text"' if run.of_texts else "image"
    card = _LOADED.sub(f'distill.load("{repo}"', bytes(files[CARD]).decode())
    files[CARD] = (card.rstrip() + "\n" + USE.format(repo=repo, sample=sample)).encode()
    files[FILE] = checked.sign_json(
        _anonymous(json.dumps(_public(run.summary), indent=2, default=str, ensure_ascii=False)).decode()
    ).encode()
    files[run.weights.name] = run.weights
    for folder in (run.folder / "tokenizer", run.folder / "teacher_tokenizer", *run.folder.glob("model"),
                   *run.folder.glob("*/model")):  # fmt: skip
        if run.of_texts and folder.is_dir() and not folder.is_relative_to(export):
            files |= {path.relative_to(run.folder).as_posix(): path for path in _below(folder)}
    return files


def _check_export(run: RunFolder, export: Path) -> None:
    again = invocation("export", f"run={hydra_value(str(run.folder))}", "format=safetensors")
    if not (export / REPORT).is_file() or not (export / CARD).is_file():
        raise UserError(f"{export} holds no export of the run: make it with {again}")
    try:
        report = checked.parse(export / REPORT)
        weights, test, metric = report["weights"], report["tested"], report["metric"]["name"]
        same = (test["score"], test["epoch"]) == (run.tested.test[metric], run.tested.epoch)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{export / REPORT} cannot be read ({error}): {again} overwrite=true") from error
    if weights != run.weights.name:
        raise UserError(f"{export} is an export of {weights}, and the run's result is {run.weights.name}: {again} "
                        "overwrite=true")  # fmt: skip
    if not same:
        raise UserError(f"{export} is an export of another student, of another score or epoch than {run.folder}'s: "
                        f"{again} overwrite=true")  # fmt: skip


def _below(folder: Path) -> Iterator[Path]:
    """The files of known kinds in a folder, hidden ones left out."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and path.suffix in KINDS and not hidden:
            yield path


def _anonymous(text: str) -> bytes:
    """A text without the home folder's name."""
    home = str(Path.home())
    return (text if home in ("/", "") else re.sub(rf"{re.escape(home)}(?![\w.-])", "~", text)).encode()


def _public(summary: RunSummary) -> dict[str, Any]:
    """A summary without what names a machine or its folders, and is no result."""

    def without_folder(result: ModelResult) -> ModelResult:
        if isinstance(result, TeacherResult):
            return replace(result, path=result.path and Path(result.path).name)
        return replace(result, teacher_cache=())

    hardware = replace(summary.hardware, host="", pid=0, visible_devices=None)
    models = {role: without_folder(result) for role, result in summary.models.items()}
    config = {**summary.config, "code": None}
    return replace(summary, models=models, hardware=hardware, config=config).as_json()
