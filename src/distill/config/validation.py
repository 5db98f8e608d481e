"""Values of a composed configuration, checked before anything heavy is imported."""

import math
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from distill.config import signatures
from distill.config.schedules import check_epochs, is_schedule, parse
from distill.config.schema import KDConfig, Node, TrainConfig
from distill.utils.errors import UserError, nearest
from distill.utils.invocation import invocation
from distill.utils.logging import LEVELS
from distill.utils.processes import count, inside

RESERVED = ("_target_", "_partial_", "_args_", "_convert_", "_recursive_")
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps", "tpu")
STRATEGIES = ("auto", "ddp", "fsdp")
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
OURS = ("callbacks", "logger", "plugins", "default_root_dir", "fast_dev_run", "use_distributed_sampler")
TEACHER_KEYS = ("checkpoint", "recipe")


def _plain(value: Any) -> Any:
    """A dataclass of the configuration as its node."""
    return vars(value) if is_dataclass(value) else value


def _get(cfg: Any, key: str) -> Any:
    """The value of a dotted key; None where there is none."""
    value = cfg
    for part in key.split("."):
        value = _plain(value)
        value = value.get(part) if isinstance(value, dict) else None
    return _plain(value)


def _nodes(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of the configuration with its dotted key."""
    value = _plain(value)
    yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _nodes(item, f"{path}.{key}" if path else str(key))


def _target(path: str, node: Node) -> None:
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
    extra = TEACHER_KEYS if path == "teacher" or path.startswith("kd.teachers.") else ()
    for key in node:
        if allowed is not None and key not in allowed and key not in RESERVED and key not in extra:
            raise UserError(f"{path}: {target} takes no '{key}'; {nearest(key, allowed)}")


def in_range(cfg: Any, key: str, low: float, high: float = math.inf, open_low: bool = False) -> None:
    """A UserError unless the number under ``key``, which may be null, lies between the bounds."""
    value = _get(cfg, key)
    if value is None:
        return
    bounds = f"above {low}" if open_low else f"at least {low}" if high == math.inf else f"in [{low}, {high}]"
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise UserError(f"{key} must be a number {bounds}, got {value!r}")
    if not (low < value if open_low else low <= value) or not value <= high or not math.isfinite(value):
        raise UserError(f"{key} must be {bounds}, got {value}")


def _choices(cfg: TrainConfig) -> None:
    for key, allowed in (("accelerator", ACCELERATORS), ("precision", PRECISIONS)):
        value = str(getattr(cfg.trainer, key))
        if value not in allowed:
            raise UserError(f"trainer.{key}={value} is unknown; {nearest(value, allowed, shown=20)}")
    if cfg.log_level not in LEVELS:
        raise UserError(f"log_level={cfg.log_level} is unknown; {nearest(cfg.log_level, LEVELS)}")
    _several(cfg)
    if cfg.compile not in ("auto", True, False):
        raise UserError(f"compile={cfg.compile} is unknown; Allowed: auto, true, false")
    if cfg.compile is True:
        for clash, why in (
            (count(vars(cfg.trainer)) > 1, "several processes (trainer.devices)"),
            (cfg.quantize is not None, "quantize: rounding follows hooks that compilation does not see"),
        ):
            if clash:
                raise UserError(f"compile=true cannot be combined with {why}; leave compile=auto")
    for key in OURS:
        if key in vars(cfg.trainer):
            raise UserError(f"trainer.{key} is set by this program; use the groups callbacks and logger")
    if cfg.data.on_broken not in ("error", "skip"):
        raise UserError(f"data.on_broken must be 'error' or 'skip', got {cfg.data.on_broken!r}")


def _several(cfg: TrainConfig) -> None:
    """Processes: how many, and what they cannot do."""
    trainer = cfg.trainer
    strategy, nodes = trainer.strategy, trainer.num_nodes
    if strategy not in STRATEGIES:
        raise UserError(f"trainer.strategy={strategy} is unknown; {nearest(str(strategy), STRATEGIES)}")
    each = count(vars(trainer))
    if each * nodes == 1:
        return
    if nodes > 1 and not inside():
        raise UserError(f"trainer.num_nodes={nodes}: start it on every node with torchrun, see docs/distributed.md")
    if cfg.data.batch_size < 2 * each * nodes:
        raise UserError(
            f"data.batch_size={cfg.data.batch_size} is for all {each * nodes} processes together: "
            f"at least {2 * each * nodes}"
        )
    if strategy == "fsdp":
        for clash, why in (
            (cfg.quantize, "quantize=int8"),
            (trainer.precision == "16-mixed", "trainer.precision=16-mixed"),
            (getattr(trainer, "sync_batchnorm", None), "trainer.sync_batchnorm=true"),
        ):
            if clash:
                raise UserError(f"trainer.strategy=fsdp cannot be combined with {why}; trainer=ddp can")
    if cfg.cache.enabled:
        raise UserError("cache.enabled=true: a job of several processes keeps no teacher cache; cache.enabled=false")


def _ends(value: Any, key: str, low: float, high: float = math.inf, open_low: bool = False, why: str = "") -> None:
    """A number or a schedule between bounds, at both of its ends."""
    schedule = parse(value, key)
    ends = (schedule.end,) if schedule.kind == "warmup" else (schedule.start, schedule.end)
    bounds = f"above {low:g}" if open_low else f"at least {low:g}" if high == math.inf else f"in [{low:g}, {high:g}]"
    for end in ends:
        if not (low < end if open_low else low <= end) or end > high:
            raise UserError(f"{key} must be {bounds}{why}, got {end}")


def _strategy(cfg: TrainConfig) -> None:
    """Numbers of ``kd``, each of which may be a schedule."""
    kd = cfg.kd
    if kd.alpha is not None:
        _ends(kd.alpha, "kd.alpha", 0, 1, why=" (it weighs the hard loss)")
    _ends(kd.T, "kd.T", 0, open_low=True)
    for name, term in kd.terms.items():
        key = f"kd.terms.{name}"
        if not term.loss or term.loss == MISSING:
            raise UserError(f"{key} has no loss; terms here: {', '.join(kd.terms)}")
        _ends(term.weight, f"{key}.weight", 0)
        phase = term.pretraining
        if phase is not None:
            if not isinstance(phase, dict) or "epochs" not in phase or not {*phase} <= {"epochs", "weight"}:
                raise UserError(f"{key}.pretraining must be {{epochs: ..., weight: ...}} or null, got {phase!r}")
            check_epochs(phase["epochs"], f"{key}.pretraining.epochs")
            in_range(cfg, f"{key}.pretraining.weight", 0, open_low=True)
    for path, value in _nodes({"terms": kd.terms, "ensemble": kd.ensemble}, "kd"):
        if is_schedule(value):
            parse(value, path)
        if path.endswith((".loss.T", "kd.ensemble.T")):
            _ends(value, path, 0, open_low=True)


def _numbers(cfg: TrainConfig) -> None:
    for key in ("kd.label_smoothing", "teacher.recipe.label_smoothing"):
        in_range(cfg, key, 0, 0.999)
    for key in ("trainer.max_epochs", "data.batch_size", "data.eval_batch_size", "teacher.recipe.batch_size",
                "data.image_size", "data.subset", "trainer.log_every_n_steps", "trainer.accumulate_grad_batches",
                "threads", "cache.top_k", "cache.cycle"):  # fmt: skip
        in_range(cfg, key, 1)
    for key in ("teacher.recipe.max_epochs", "seed", "teacher.recipe.seed", "data.num_workers", "data.split_seed",
                "optimizer.weight_decay", "teacher.recipe.optimizer.weight_decay"):  # fmt: skip
        in_range(cfg, key, 0)
    for key in ("optimizer.lr", "teacher.recipe.optimizer.lr", "data.memory_gb", "cache.max_gb",
                "trainer.gradient_clip_val", "teacher.recipe.gradient_clip_val", "trainer.limit_train_batches",
                "trainer.limit_val_batches", "trainer.limit_test_batches"):  # fmt: skip
        in_range(cfg, key, 0, open_low=True)
    for key in ("data.val_fraction", "data.test_fraction"):
        in_range(cfg, key, 0, 0.9, open_low=True)


def _present(cfg: TrainConfig) -> None:
    """Nodes that no run can do without."""
    for key in ("model", "teacher", "optimizer", "trainer", "data.source"):
        node = _get(cfg, key)
        if not isinstance(node, dict) or "_target_" not in node:
            raise UserError(
                f"{key} is missing or has no _target_; choose an option: {invocation('train')} --help lists them"
            )
    if not isinstance(cfg.teacher.get("recipe"), dict):
        raise UserError("teacher.recipe is missing")
    if not isinstance(cfg.kd, KDConfig):
        raise UserError("kd is missing; kd=none trains the student alone")


def check_checkpoint(checkpoint: Any, key: str) -> None:
    """A UserError unless a file with weights is there (or None), and of a kind that torch or safetensors write."""
    if checkpoint is not None and not Path(checkpoint).is_file():
        raise UserError(f"{key}: {checkpoint} does not exist or is no file")
    if checkpoint is not None and not str(checkpoint).endswith(".safetensors"):
        with Path(checkpoint).open("rb") as file:
            if file.read(2) != b"PK" and file.seek(0) == 0 and file.read(1) != b"\x80":  # a zip archive, or a pickle
                raise UserError(f"{key}: {checkpoint} is no file that torch.save wrote")


def weights_of(init: str) -> Path:
    """The weights that ``init`` means: a finished run's student, or the file itself."""
    path = Path(init)
    return path / "student.safetensors" if path.is_dir() else path


def _files(cfg: TrainConfig) -> None:
    if cfg.init is not None:
        check_checkpoint(str(weights_of(cfg.init)), "init")
    check_checkpoint(cfg.teacher.get("checkpoint"), "teacher.checkpoint")
    source = cfg.data.source
    kind = str(source.get("_target_", "")).rpartition(".")[2]
    if kind in ("image_folder", "parquet") and cfg.data.root is None and "None" in str(source):
        raise UserError(f"data={cfg.data.name} needs the folder of the images: data.root=<folder>")
    if kind == "image_folder":
        root = Path(str(source.get("root")))
        if not root.is_dir():
            raise UserError(f"data.root: folder {root} does not exist")
        if not any(root.iterdir()):
            raise UserError(f"data.root: folder {root} is empty")
        pool = root / "train" if (root / "train").is_dir() else root
        classes = [path.name for path in pool.iterdir() if path.is_dir() and not path.name.startswith(".")]
        if len(classes) < 2:
            content = f"one class folder only ({classes[0]})" if classes else "no class folders"
            raise UserError(f"data.root: {pool} holds {content}: at least 2 are needed")
    if kind == "parquet":
        for pattern in train if isinstance(train := source.get("train"), list) else [train]:
            path = Path(str(pattern))
            if not path.is_dir() and not any(path.parent.glob(path.name)):
                raise UserError(f"data.source.train: no file matches {pattern}")


def check(cfg: TrainConfig) -> None:
    """Checks a configuration; torch is not needed. What flows need, ``distill.training.flows`` checks.

    Args:
        cfg: from ``distill.config.schema.typed``.

    Raises:
        UserError: the first bad value: its key, its value, the allowed values.
    """
    _present(cfg)
    for path, node in _nodes(cfg):
        if isinstance(node, dict) and "_target_" in node:
            _target(path, node)
    _choices(cfg)
    _strategy(cfg)
    _numbers(cfg)
    _files(cfg)
