"""The files of weights that a configuration names: there, of a kind that is read, and not at odds with one another."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distill.config.nodes import is_teacher
from distill.config.schema import Node, TrainConfig
from distill.utils.errors import UserError, check_choice, check_range, nearest, nearest_files
from distill.utils.shards import INDEX, check_whole, is_index, weight_map

WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
SAVED = ("student.safetensors", "model.safetensors", f"model.safetensors{INDEX}")
PREPROCESS = ("mean", "std", "size", "interpolation")
_KNOWN = ("distill.", "torch.", "torchvision.", "timm.")  # whose models have no argument backbone


def check_checkpoint(checkpoint: Any, key: str) -> None:
    """A UserError unless a file with weights is there (or None), of a kind that torch or safetensors write, whole."""
    if checkpoint is None:
        return
    if not isinstance(checkpoint, str):
        raise UserError(f"{key} must be a file with weights, got {checkpoint!r}")
    if Path(checkpoint).is_dir():
        names = sorted(p.name for p in Path(checkpoint).iterdir() if p.name.endswith((*WEIGHTS, INDEX)))
        inside = f"name a file in it: {', '.join(names[:5])}" if names else "it holds no file of weights"
        raise UserError(f"{key}: {checkpoint} is a folder; {inside}")
    if not Path(checkpoint).is_file():
        raise UserError(f"{key}: {checkpoint} does not exist or is no file{nearest_files(Path(checkpoint))}")
    check_whole(Path(checkpoint))
    if is_index(Path(checkpoint)):
        weight_map(Path(checkpoint))
    elif not str(checkpoint).endswith(".safetensors"):
        with Path(checkpoint).open("rb") as file:
            if file.read(2) != b"PK" and file.seek(0) == 0 and file.read(1) != b"\x80":  # a zip archive, or a pickle
                raise UserError(f"{key}: {checkpoint} is no file that torch.save wrote")


def check_preprocess(value: Any, key: str) -> None:
    """A UserError unless a value is one of ``teacher.preprocess``: auto, false, or a mapping."""
    if value is None or value is False or value == "auto":
        return
    if not isinstance(value, dict):
        raise UserError(f"{key} must be auto, false or {{mean, std, size, interpolation}}, got {value!r}")
    for name in value:
        if name not in PREPROCESS:
            raise UserError(f"{key} has no '{name}'; {nearest(name, PREPROCESS)}")
    for name in ("mean", "std"):
        numbers = value.get(name, [1.0])
        if not isinstance(numbers, list) or not numbers or None in numbers:
            raise UserError(f"{key}.{name} must be a list of numbers, one per channel, got {numbers!r}")
        for number in numbers:
            check_range(f"{key}.{name}", number, -1e6 if name == "mean" else 0, 1e6, open_low=name == "std")
    size = value.get("size", 1)
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= 4096:
        raise UserError(f"{key}.size must be a whole number of pixels from 1 to 4096, got {size!r}")
    check_choice(f"{key}.interpolation", value.get("interpolation", "bilinear"), ("nearest", "bilinear", "bicubic"))


def weights_of(init: str) -> Path:
    """The weights that ``init`` means: a finished run's student, what transformers saved in a folder, or the file."""
    path = Path(init)
    if not path.is_dir() or not (present := [name for name in SAVED if (path / name).is_file()]):
        return path / SAVED[0] if path.is_dir() else path
    return path / present[0]


def models(cfg: TrainConfig) -> Iterator[tuple[str, Node]]:
    """Every model's node, with its dotted key."""
    yield from (("model", cfg.model), ("teacher", cfg.teacher))
    for name in ("teachers", "assistants", "peers"):
        entries = getattr(cfg.kd, name)
        for i, entry in enumerate(entries if isinstance(entries, list) else ()):
            if isinstance(entry, dict):
                yield f"kd.{name}.{i}", entry


def _recipe_epochs(cfg: TrainConfig, node: Node) -> Any:
    return {**cfg.teacher["recipe"], **(node.get("recipe") or {})}.get("max_epochs")


def check(cfg: TrainConfig) -> None:
    """Checks every file of weights that the configuration names; torch is not needed.

    Raises:
        UserError: a file that is missing or is none; a backbone beside what replaces it, or that is never trained.
    """
    if cfg.init is not None:
        check_checkpoint(str(weights_of(cfg.init)), "init")
    check_checkpoint(cfg.teacher.get("checkpoint"), "teacher.checkpoint")
    for key, node in models(cfg):
        if is_teacher(key) and str(node.get("_target_")).startswith(_KNOWN):
            check_preprocess(node.get("preprocess"), f"{key}.preprocess")
        if node.get("backbone") is None or not str(node.get("_target_")).startswith(_KNOWN):
            continue
        check_checkpoint(node["backbone"], f"{key}.backbone")
        others = {f"{key}.pretrained": node.get("pretrained"), f"{key}.checkpoint": node.get("checkpoint")}
        others |= {"init": cfg.init if key == "model" else None}
        for other, value in others.items():
            if value:
                raise UserError(f"{key}.backbone and {other} both give its weights: leave one of them out")
        if is_teacher(key) and _recipe_epochs(cfg, node) == 0:
            raise UserError(
                f"{key}.backbone comes with a new classifier, and {key}.recipe.max_epochs=0 does not train it: "
                f"give it epochs, or a file with a classifier as {key}.checkpoint"
            )
