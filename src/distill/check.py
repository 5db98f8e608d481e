"""Values of a composed configuration, checked before anything heavy is imported."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distill import signatures
from distill.errors import UserError, nearest

RESERVED = ("_target_", "_partial_", "_args_", "_convert_", "_recursive_")
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps", "tpu")
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
OURS = ("callbacks", "logger", "plugins", "default_root_dir", "fast_dev_run", "use_distributed_sampler")
TEACHER_KEYS = ("checkpoint", "recipe")


def _nodes(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of the configuration with its dotted key."""
    yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _nodes(item, f"{path}.{key}" if path else str(key))


def _target(path: str, node: dict[str, Any]) -> None:
    """One ``_target_`` and the names of its arguments."""
    target = node["_target_"]
    if not isinstance(target, str) or "." not in target:
        raise UserError(f"{path}._target_ must be a dotted name (package.module.Class), got {target!r}")
    if not target.startswith("distill."):
        return
    if not signatures.exists(target):
        module, _, name = target.rpartition(".")
        raise UserError(f"{path}._target_: {module} has no '{name}'; {nearest(name, signatures.names_in(module))}")
    allowed = signatures.parameters(target)
    own = TEACHER_KEYS if path == "teacher" else ()
    for key in node:
        if allowed is not None and key not in allowed and key not in RESERVED and key not in own:
            raise UserError(f"{path}: {target} takes no '{key}'; {nearest(key, allowed)}")


def _in_range(cfg: dict[str, Any], key: str, low: float, high: float = math.inf, open_low: bool = False) -> None:
    """One number, which may be null."""
    value: Any = cfg
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is None:
        return
    bounds = f"above {low}" if open_low else f"at least {low}" if high == math.inf else f"in [{low}, {high}]"
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise UserError(f"{key} must be a number {bounds}, got {value!r}")
    if not (low < value if open_low else low <= value) or not value <= high or not math.isfinite(value):
        raise UserError(f"{key} must be {bounds}, got {value}")


def _choices(cfg: dict[str, Any]) -> None:
    for key, allowed in (("accelerator", ACCELERATORS), ("precision", PRECISIONS)):
        given = cfg["trainer"][key]
        if str(given) not in allowed:
            raise UserError(f"trainer.{key}={given} is unknown; {nearest(str(given), allowed, shown=20)}")
    if cfg["trainer"]["devices"] not in (1, "1", "auto", [0]) or cfg["trainer"]["num_nodes"] != 1:
        raise UserError(
            f"trainer.devices={cfg['trainer']['devices']}, num_nodes={cfg['trainer']['num_nodes']}: "
            "a run uses one device for now; several seeds or settings can run side by side"
        )
    for key in OURS:
        if key in cfg["trainer"]:
            raise UserError(f"trainer.{key} is set by this program; use the groups callbacks and logger")
    if cfg["data"]["on_broken"] not in ("error", "skip"):
        raise UserError(f"data.on_broken must be 'error' or 'skip', got {cfg['data']['on_broken']!r}")


def _numbers(cfg: dict[str, Any]) -> None:
    if not 0 <= cfg["kd"]["alpha"] <= 1:
        raise UserError(f"kd.alpha must be in [0, 1] (it weighs the hard loss), got {cfg['kd']['alpha']}")
    _in_range(cfg, "kd.T", 0, open_low=True)
    for key in ("kd.label_smoothing", "teacher.recipe.label_smoothing"):
        _in_range(cfg, key, 0, 0.999)
    for name, term in cfg["kd"]["terms"].items():
        _in_range(cfg, f"kd.terms.{name}.weight", 0)
        if not term.get("loss"):
            raise UserError(f"kd.terms.{name} has no loss; terms here: {', '.join(cfg['kd']['terms'])}")
    for path, _ in _nodes(cfg["kd"]["terms"], "kd.terms"):
        if path.endswith(".loss.T"):
            _in_range(cfg, path, 0, open_low=True)
    for key in ("trainer.max_epochs", "data.batch_size", "data.eval_batch_size", "teacher.recipe.batch_size",
                "data.image_size", "data.subset", "trainer.log_every_n_steps", "trainer.accumulate_grad_batches",
                "threads"):  # fmt: skip
        _in_range(cfg, key, 1)
    for key in ("teacher.recipe.max_epochs", "seed", "teacher.recipe.seed", "data.num_workers", "data.split_seed",
                "optimizer.weight_decay", "teacher.recipe.optimizer.weight_decay"):  # fmt: skip
        _in_range(cfg, key, 0)
    for key in ("optimizer.lr", "teacher.recipe.optimizer.lr", "data.memory_gb", "trainer.gradient_clip_val",
                "teacher.recipe.gradient_clip_val", "trainer.limit_train_batches", "trainer.limit_val_batches",
                "trainer.limit_test_batches"):  # fmt: skip
        _in_range(cfg, key, 0, open_low=True)
    for key in ("data.val_fraction", "data.test_fraction"):
        _in_range(cfg, key, 0, 0.9, open_low=True)


def _present(cfg: dict[str, Any]) -> None:
    """Nodes that no run can do without."""
    for key in ("model", "teacher", "optimizer", "trainer", "data.source"):
        node: Any = cfg
        for part in key.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        if not isinstance(node, dict) or "_target_" not in node:
            raise UserError(f"{key} is missing or has no _target_; choose an option: python train.py --help lists them")
    if not isinstance(cfg["teacher"].get("recipe"), dict):
        raise UserError("teacher.recipe is missing")
    if not isinstance(cfg.get("kd"), dict):
        raise UserError("kd is missing; kd=none trains the student alone")


def _files(cfg: dict[str, Any]) -> None:
    checkpoint = cfg["teacher"].get("checkpoint")
    if checkpoint is not None and not Path(checkpoint).is_file():
        raise UserError(f"teacher.checkpoint: {checkpoint} does not exist or is no file")
    if checkpoint is not None and not str(checkpoint).endswith(".safetensors"):
        with Path(checkpoint).open("rb") as file:
            if file.read(2) != b"PK" and file.seek(0) == 0 and file.read(1) != b"\x80":  # a zip archive, or a pickle
                raise UserError(f"teacher.checkpoint: {checkpoint} is no file that torch.save wrote")
    source = cfg["data"]["source"]
    kind = str(source.get("_target_", "")).rpartition(".")[2]
    if kind in ("image_folder", "parquet") and cfg["data"]["root"] is None and "None" in str(source):
        raise UserError(f"data={cfg['data']['name']} needs the folder of the images: data.root=<folder>")
    if kind == "image_folder":
        root = Path(str(source.get("root")))
        if not root.is_dir():
            raise UserError(f"data.root: folder {root} does not exist")
        if not any(root.iterdir()):
            raise UserError(f"data.root: folder {root} is empty")
        pool = root / "train" if (root / "train").is_dir() else root
        classes = [path.name for path in pool.iterdir() if path.is_dir() and not path.name.startswith(".")]
        if len(classes) < 2:
            found = f"one class folder only ({classes[0]})" if classes else "no class folders"
            raise UserError(f"data.root: {pool} holds {found}: at least 2 are needed")
    if kind == "parquet":
        for pattern in train if isinstance(train := source.get("train"), list) else [train]:
            path = Path(str(pattern))
            if not path.is_dir() and not any(path.parent.glob(path.name)):
                raise UserError(f"data.source.train: no file matches {pattern}")


def check(cfg: dict[str, Any]) -> None:
    """Checks a resolved configuration; torch is not needed.

    Args:
        cfg: ``OmegaConf.to_container(cfg, resolve=True)`` with enums as they are.

    Raises:
        UserError: the first bad value: its key, what was given, what is allowed.
    """
    _present(cfg)
    for path, node in _nodes(cfg):
        if isinstance(node, dict) and "_target_" in node:
            _target(path, node)
    _choices(cfg)
    _numbers(cfg)
    _files(cfg)
