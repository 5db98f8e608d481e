"""Values of a composed configuration, checked before anything heavy is imported."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distill.config import signatures
from distill.config.schedules import check_epochs, is_schedule, parse
from distill.utils.errors import UserError, nearest
from distill.utils.invocation import invocation
from distill.utils.processes import count, inside

RESERVED = ("_target_", "_partial_", "_args_", "_convert_", "_recursive_")
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps", "tpu")
STRATEGIES = ("auto", "ddp", "fsdp")
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
    own = TEACHER_KEYS if path == "teacher" or path.startswith("kd.teachers.") else ()
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
    _several(cfg)
    if cfg["compile"] not in ("auto", True, False):
        raise UserError(f"compile={cfg['compile']} is unknown; Allowed: auto, true, false")
    if cfg["compile"] is True:
        for clash, why in (
            (count(cfg["trainer"]) > 1, "several processes (trainer.devices)"),
            (cfg["quantize"] is not None, "quantize: rounding follows hooks that compilation does not see"),
            (bool(cfg["kd"]["peers"]), "kd.peers: students that teach each other"),
        ):
            if clash:
                raise UserError(f"compile=true cannot be combined with {why}; leave compile=auto")
    for key in OURS:
        if key in cfg["trainer"]:
            raise UserError(f"trainer.{key} is set by this program; use the groups callbacks and logger")
    if cfg["data"]["on_broken"] not in ("error", "skip"):
        raise UserError(f"data.on_broken must be 'error' or 'skip', got {cfg['data']['on_broken']!r}")


def _several(cfg: dict[str, Any]) -> None:
    """Processes: how many, and what they cannot do."""
    trainer = cfg["trainer"]
    strategy, nodes = trainer["strategy"], trainer["num_nodes"]
    if strategy not in STRATEGIES:
        raise UserError(f"trainer.strategy={strategy} is unknown; {nearest(str(strategy), STRATEGIES)}")
    each = count(trainer)
    if each * nodes == 1:
        return
    if nodes > 1 and not inside():
        raise UserError(f"trainer.num_nodes={nodes}: start it on every node with torchrun, see docs/distributed.md")
    if cfg["data"]["batch_size"] < 2 * each * nodes:
        raise UserError(
            f"data.batch_size={cfg['data']['batch_size']} is for all {each * nodes} processes together: "
            f"at least {2 * each * nodes}"
        )
    if strategy == "fsdp":
        for given, why in (
            (cfg["quantize"], "quantize=int8"),
            (cfg["kd"]["peers"], "students that teach each other"),
            (trainer["precision"] == "16-mixed", "trainer.precision=16-mixed"),
            (trainer.get("sync_batchnorm"), "trainer.sync_batchnorm=true"),
        ):
            if given:
                raise UserError(f"trainer.strategy=fsdp cannot be combined with {why}; trainer=ddp can")
    if cfg["cache"]["enabled"]:
        raise UserError("cache.enabled=true: a job of several processes keeps no teacher cache; cache.enabled=false")


def _ends(value: Any, key: str, low: float, high: float = math.inf, open_low: bool = False, why: str = "") -> None:
    """A number or a schedule between bounds, at both of its ends."""
    schedule = parse(value, key)
    ends = (schedule.end,) if schedule.kind == "warmup" else (schedule.start, schedule.end)
    bounds = f"above {low:g}" if open_low else f"at least {low:g}" if high == math.inf else f"in [{low:g}, {high:g}]"
    for end in ends:
        if not (low < end if open_low else low <= end) or end > high:
            raise UserError(f"{key} must be {bounds}{why}, got {end}")


def _strategy(cfg: dict[str, Any]) -> None:
    """Numbers of ``kd``, each of which may be a schedule."""
    kd = cfg["kd"]
    if kd["alpha"] is not None:
        _ends(kd["alpha"], "kd.alpha", 0, 1, why=" (it weighs the hard loss)")
    _ends(kd["T"], "kd.T", 0, open_low=True)
    _in_range(cfg, "kd.generations", 1)
    for name, term in kd["terms"].items():
        key = f"kd.terms.{name}"
        if not term.get("loss"):
            raise UserError(f"{key} has no loss; terms here: {', '.join(kd['terms'])}")
        _ends(term["weight"], f"{key}.weight", 0)
        phase = term["pretraining"]
        if phase is not None:
            if not isinstance(phase, dict) or "epochs" not in phase or not {*phase} <= {"epochs", "weight"}:
                raise UserError(f"{key}.pretraining must be {{epochs: ..., weight: ...}} or null, got {phase!r}")
            check_epochs(phase["epochs"], f"{key}.pretraining.epochs")
            _in_range(cfg, f"{key}.pretraining.weight", 0, open_low=True)
    for path, value in _nodes({"terms": kd["terms"], "ensemble": kd["ensemble"]}, "kd"):
        if is_schedule(value):
            parse(value, path)
        if path.endswith((".loss.T", "kd.ensemble.T")):
            _ends(value, path, 0, open_low=True)


def _flows(cfg: dict[str, Any]) -> None:
    """Several teachers, students in a chain, students side by side."""
    kd = cfg["kd"]
    needed = {
        "teachers": "several teachers need at least one beside the main one: kd.teachers=[resnet14]",
        "assistants": "a chain needs at least one assistant between teacher and student: kd.assistants=[resnet14]",
        "peers": "mutual learning needs at least two students, one beside the main one: kd.peers=[resnet14]",
    }
    for name, why in needed.items():
        if kd[name] is not None and not kd[name]:
            raise UserError(f"kd.{name} is empty: {why}")
    used = [name for name in needed if kd[name]] + (["generations"] if kd["generations"] > 1 else [])
    if used and not kd["terms"]:
        raise UserError(f"kd.{used[0]} needs a term that students learn from; kd.terms is empty")
    if kd["peers"] and cfg["quantize"] is not None:
        raise UserError("kd.peers and quantize cannot be combined: only a student with a teacher learns int8")
    if kd["peers"]:
        clash = [name for name in used if name != "peers"] + (["student_wrapper"] if kd["student_wrapper"] else [])
        if clash:
            raise UserError(
                f"kd.peers and kd.{clash[0]} cannot be combined: students that teach each other need no teacher"
            )


def _numbers(cfg: dict[str, Any]) -> None:
    for key in ("kd.label_smoothing", "teacher.recipe.label_smoothing"):
        _in_range(cfg, key, 0, 0.999)
    for key in ("trainer.max_epochs", "data.batch_size", "data.eval_batch_size", "teacher.recipe.batch_size",
                "data.image_size", "data.subset", "trainer.log_every_n_steps", "trainer.accumulate_grad_batches",
                "threads", "cache.top_k", "cache.cycle"):  # fmt: skip
        _in_range(cfg, key, 1)
    for key in ("teacher.recipe.max_epochs", "seed", "teacher.recipe.seed", "data.num_workers", "data.split_seed",
                "optimizer.weight_decay", "teacher.recipe.optimizer.weight_decay"):  # fmt: skip
        _in_range(cfg, key, 0)
    for key in ("optimizer.lr", "teacher.recipe.optimizer.lr", "data.memory_gb", "cache.max_gb",
                "trainer.gradient_clip_val", "teacher.recipe.gradient_clip_val", "trainer.limit_train_batches",
                "trainer.limit_val_batches", "trainer.limit_test_batches"):  # fmt: skip
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
            raise UserError(
                f"{key} is missing or has no _target_; choose an option: {invocation('train')} --help lists them"
            )
    if not isinstance(cfg["teacher"].get("recipe"), dict):
        raise UserError("teacher.recipe is missing")
    if not isinstance(cfg.get("kd"), dict):
        raise UserError("kd is missing; kd=none trains the student alone")


def _checkpoint(checkpoint: Any, key: str) -> None:
    """A teacher's file: there, and of a kind that torch or safetensors wrote."""
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


def _files(cfg: dict[str, Any]) -> None:
    if cfg["init"] is not None:
        _checkpoint(str(weights_of(cfg["init"])), "init")
    _checkpoint(cfg["teacher"].get("checkpoint"), "teacher.checkpoint")
    for i, teacher in enumerate(cfg["kd"]["teachers"] or []):
        _checkpoint(teacher.get("checkpoint"), f"kd.teachers.{i}.checkpoint")
        for key in teacher.get("recipe") or {}:
            if key not in cfg["teacher"]["recipe"]:
                raise UserError(f"kd.teachers.{i}.recipe has no '{key}'; {nearest(key, cfg['teacher']['recipe'])}")
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
    _strategy(cfg)
    _flows(cfg)
    _numbers(cfg)
    _files(cfg)
