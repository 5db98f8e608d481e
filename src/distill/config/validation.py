"""Values of a composed configuration, checked before anything heavy is imported."""

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from omegaconf import MISSING

from distill.config import data_files, kinds, named_models, own_code, weights_files
from distill.config.key_sets import LEFT_TO_THE_DATA
from distill.config.nodes import check_node
from distill.config.schedules import check_epochs, is_schedule, parse
from distill.config.schema import CacheConfig, DataConfig, KDConfig, TermConfig, TrainConfig
from distill.utils.errors import UserError, check_choice, check_range, nearest, require_package
from distill.utils.invocation import invocation
from distill.utils.logging import LEVELS
from distill.utils.processes import count, inside

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps", "tpu")
STRATEGIES = ("auto", "ddp", "fsdp")
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
LOGGER_PACKAGES = {"mlflow", "wandb"}  # and extras, which the choices of the group are named after
_LIMITS = "trainer.limit_train_batches, trainer.limit_val_batches and trainer.limit_test_batches"
REFUSED = {  # arguments of Lightning's Trainer that no run uses: their value without effect, and what to use instead
    "callbacks": (None, "choose callbacks with the group callbacks"),
    "logger": (None, "choose loggers with the group logger"),
    "plugins": (None, "it is set by this program"),
    "default_root_dir": (None, "the run's folder is hydra.run.dir"),
    "enable_checkpointing": (True, "a run is continued from its checkpoints"),
    "enable_model_summary": (False, "the table at the end shows parameters and operations"),
    "fast_dev_run": (False, f"trainer.max_epochs=1 with {_LIMITS} is a short run"),
    "overfit_batches": (0.0, "data.subset=<samples> trains on the same few samples in every epoch"),
    "num_sanity_val_steps": (0, "every model and loss is computed once before a training anyway"),
    "use_distributed_sampler": (False, "processes share each batch out already"),
    "reload_dataloaders_every_n_epochs": (0, "order and views depend on the epoch already"),
    "barebones": (False, "it trains without checkpoints and without a record"),
    "max_steps": (-1, f"the length of a training is trainer.max_epochs, with shorter epochs by {_LIMITS}"),
    "max_time": (None, "trainer.max_epochs is the length of a training; a stopped one goes on with resume="),
    "val_check_interval": (1.0, "validation ends an epoch, or every n-th: trainer.check_val_every_n_epoch"),
    "limit_predict_batches": (None, "a run predicts nothing"),
}
SWITCHES = ("benchmark", "detect_anomaly", "inference_mode", "sync_batchnorm")
PROFILERS = ("simple", "advanced", "pytorch")
OURS_AND_TORCHS = ("distill", "torch", "lightning")  # packages whose arguments are finite numbers
MOST_OF = {  # what would run for years, or ask for more than a machine has
    "trainer.max_epochs": (1, 1_000_000), "teacher.recipe.max_epochs": (0, 1_000_000), "kd.generations": (1, 1000),
    "data.num_workers": (0, 1024), "threads": (1, 1024), "data.image_size": (1, 16_384),
    "data.max_length": (8, 1_000_000), "data.teacher_max_length": (8, 1_000_000),
    "data.augment.crop_padding": (0, 16_384), "data.augment.cutout": (0, 16_384),
}  # fmt: skip
MOST = 2**53  # of whole numbers: those that a float holds


def _nodes(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of the configuration with its dotted key; a dataclass as a dict."""
    if is_dataclass(value):
        value = vars(value)
    yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _nodes(item, f"{path}.{key}" if path else str(key))


def _choices(cfg: TrainConfig) -> None:
    check_choice("trainer.accelerator", cfg.trainer.accelerator, ACCELERATORS)
    check_choice("trainer.precision", cfg.trainer.precision, PRECISIONS)
    check_choice("log_level", cfg.log_level, LEVELS)
    for package in LOGGER_PACKAGES & cfg.logger.keys():
        require_package(package, f"logger={package}", package, package, load=False)
    _several_processes(cfg)
    if cfg.compile not in ("auto", True, False):
        raise UserError(f"compile={cfg.compile} is unknown; Allowed: auto, true, false")
    if cfg.compile is True:
        several = count(cfg.trainer.devices) > 1
        hooks = "quantize: rounding follows hooks that compilation does not see"
        clashes = {"several processes (trainer.devices)": several, hooks: cfg.quantize is not None}
        _refuse("compile=true", clashes, "leave compile=auto")
    _trainer(vars(cfg.trainer))
    check_choice("data.kind", cfg.data.kind, ("images", "text"))
    if cfg.data.on_broken not in ("error", "skip"):
        raise UserError(f"data.on_broken must be 'error' or 'skip', got {cfg.data.on_broken!r}")


def _trainer(arguments: dict[str, Any]) -> None:
    """Arguments of Lightning's Trainer, the added ones as well; the Trainer itself checks what is left."""
    for key, (neutral, instead) in REFUSED.items():
        if arguments.get(key) is not None and repr(arguments[key]) != repr(neutral):
            raise UserError(f"trainer.{key}={arguments[key]} is not used here: {instead}")
    for key in SWITCHES:
        if arguments.get(key) not in (None, True, False):
            raise UserError(f"trainer.{key} must be true or false, got {arguments[key]!r}")
    if arguments["deterministic"] not in (None, True, False, "warn"):
        raise UserError(f"trainer.deterministic must be true, false or warn, got {arguments['deterministic']!r}")
    if (profiler := arguments.get("profiler")) is not None:
        check_choice("trainer.profiler", profiler, PROFILERS)
    least, most = arguments.get("min_epochs"), arguments["max_epochs"]
    if least is not None and not (type(least) is int and 0 <= least <= (least if most is None else most)):
        limit = "" if most is None else f"={most}"
        raise UserError(f"trainer.min_epochs must be a number up to trainer.max_epochs{limit}, got {least!r}")


def _refuse(setting: str, clashes: dict[str, bool], hint: str) -> None:
    """A UserError for the first setting of ``clashes`` that is there: it cannot be combined with ``setting``."""
    for other, is_set in clashes.items():
        if is_set:
            raise UserError(f"{setting} cannot be combined with {other}; {hint}")


def _several_processes(cfg: TrainConfig) -> None:
    """How many processes, and what cannot be combined with several."""
    trainer = cfg.trainer
    nodes = trainer.num_nodes
    check_choice("trainer.strategy", trainer.strategy, STRATEGIES)
    processes = count(trainer.devices) * nodes
    if processes == 1:
        return
    if nodes > 1 and not inside():
        raise UserError(f"trainer.num_nodes={nodes}: start it on every node with torchrun, see docs/distributed.md")
    if cfg.data.batch_size is not None and cfg.data.batch_size < 2 * processes:
        raise UserError(
            f"data.batch_size={cfg.data.batch_size} is for all {processes} processes together: at least {2 * processes}"
        )
    if trainer.strategy == "fsdp":
        clashes = {
            "quantize=int8": cfg.quantize is not None,
            "trainer.precision=16-mixed": trainer.precision == "16-mixed",
            "trainer.sync_batchnorm=true": bool(getattr(trainer, "sync_batchnorm", None)),
        }
        _refuse("trainer.strategy=fsdp", clashes, "trainer=ddp can")
    if cfg.cache.enabled:
        raise UserError("cache.enabled=true: a job of several processes keeps no teacher cache; cache.enabled=false")


def _check_ends(
    key: str, value: Any, low: float, high: float = math.inf, open_low: bool = False, reason: str = ""
) -> None:
    """A UserError unless a number or both ends of a schedule lie between the bounds."""
    schedule = parse(value, key)
    for end in (schedule.end,) if schedule.kind == "warmup" else (schedule.start, schedule.end):
        check_range(key, end, low, high, open_low, reason)


def _distillation(cfg: TrainConfig) -> None:
    """Numbers of ``kd``, each of which may be a schedule."""
    kd = cfg.kd
    if kd.alpha is not None:
        _check_ends("kd.alpha", kd.alpha, 0, 1, reason=" (it weighs the hard loss)")
    _check_ends("kd.T", kd.T, 0, open_low=True)
    for name, term in kd.terms.items():
        key = f"kd.terms.{name}"
        if not term.loss or term.loss == MISSING:
            raise UserError(f"{key} has no loss; terms here: {', '.join(kd.terms)}")
        _check_ends(f"{key}.weight", term.weight, 0)
        phase = term.pretraining
        if phase is not None:
            if not isinstance(phase, dict) or "epochs" not in phase or not {*phase} <= {"epochs", "weight"}:
                raise UserError(f"{key}.pretraining must be {{epochs: ..., weight: ...}} or null, got {phase!r}")
            check_epochs(phase["epochs"], f"{key}.pretraining.epochs")
            check_range(f"{key}.pretraining.weight", phase.get("weight"), 0, open_low=True)
    for path, value in _nodes({"terms": kd.terms, "ensemble": kd.ensemble}, "kd"):
        if is_schedule(value):
            parse(value, path)
        if path.endswith((".loss.T", "kd.ensemble.T")):
            _check_ends(path, value, 0, open_low=True)


def _numbers(values: dict[str, Any]) -> None:
    """Numbers of the configuration, whose values are given by their dotted keys."""
    for key in ("kd.label_smoothing", "teacher.recipe.label_smoothing"):
        check_range(key, values.get(key), 0, 0.999)
    for key in ("data.batch_size", "data.eval_batch_size", "teacher.recipe.batch_size",
                "data.subset", "trainer.log_every_n_steps", "trainer.accumulate_grad_batches",
                "trainer.check_val_every_n_epoch", "cache.top_k", "cache.sampled", "cache.cycle"):  # fmt: skip
        check_range(key, values.get(key), 1)
    for key, (least, most) in MOST_OF.items():
        check_range(key, values.get(key), least)
        if (values.get(key) or 0) > most:
            raise UserError(f"{key} must be at most {most:,}, got {values[key]}")
    for key in ("seed", "teacher.recipe.seed", "data.split_seed"):
        check_range(key, values.get(key), 0, 2**32 - 1)  # as NumPy's generators
    for key in ("optimizer.weight_decay", "teacher.recipe.optimizer.weight_decay"):
        check_range(key, values.get(key), 0)
    for key in ("optimizer.lr", "teacher.recipe.optimizer.lr", "data.memory_gb", "cache.max_gb",
                "trainer.gradient_clip_val", "teacher.recipe.gradient_clip_val", "trainer.limit_train_batches",
                "trainer.limit_val_batches", "trainer.limit_test_batches"):  # fmt: skip
        check_range(key, values.get(key), 0, open_low=True)
    for key in LEFT_TO_THE_DATA:
        if not key.endswith(".lr") and isinstance(value := values.get(key), float):
            raise UserError(f"{key} must be a whole number, got {value}")
    for key in ("data.val_fraction", "data.test_fraction"):
        check_range(key, values.get(key), 0, 0.9, open_low=True)


def _no_others(cfg: TrainConfig) -> None:
    """Keys that ``+`` or ``++`` added where nobody reads them; one at the top is for interpolations."""
    nodes: dict[str, DataConfig | KDConfig | CacheConfig | TermConfig]
    nodes = {"data": cfg.data, "kd": cfg.kd, "cache": cfg.cache}
    nodes |= {f"kd.terms.{name}": term for name, term in cfg.kd.terms.items()}
    for path, node in nodes.items():
        names = [item.name for item in fields(node)]
        for key in vars(node):
            if key not in names:
                raise UserError(f"there is no key '{path}.{key}'; {nearest(key, names, shown=30)}")


def present(cfg: TrainConfig) -> None:
    """Nodes that no run can do without.

    Raises:
        UserError: one is missing, or names no object.
    """
    values = dict(_nodes(cfg))
    for key in ("model", "teacher", "optimizer", "trainer", "data.source"):
        node = values.get(key)
        if not isinstance(node, dict) or "_target_" not in node:
            raise UserError(
                f"{key} is missing or has no _target_; choose an option: {invocation('train')} --help lists them"
            )
    for key in ("logger", "callbacks"):
        for name, node in (getattr(cfg, key) or {}).items():
            if node and not (isinstance(node, dict) and "_target_" in node):
                raise UserError(f"{key}.{name} must be null or {{_target_: package.module.Class, ...}}, got {node!r}")
    if not isinstance(cfg.teacher.get("recipe"), dict):
        raise UserError("teacher.recipe is missing")
    if not isinstance(cfg.kd, KDConfig):
        raise UserError("kd is missing; kd=none trains the student alone")
    named_models.check(cfg.kd)
    for key in ("ensemble", "flow", "student_wrapper"):
        if (node := getattr(cfg.kd, key)) is not None and not (isinstance(node, dict) and "_target_" in node):
            raise UserError(f"kd.{key} must be null or {{_target_: package.module.Class, ...}}, got {node!r}")


def _files(cfg: TrainConfig) -> None:
    own_code.check_folder(cfg.code)
    weights_files.check(cfg)
    kinds.check(cfg)
    data_files.check(cfg)


def _finite(values: dict[str, Any]) -> None:
    """NaN and integers no float holds are no value of anything, infinity none of ours; others' targets may take it."""
    nodes = {key: node["_target_"] for key, node in values.items() if isinstance(node, dict) and "_target_" in node}
    for path, value in values.items():
        if isinstance(value, int) and abs(value) > MOST:
            raise UserError(f"{path} must be a whole number of at most 2^53, got {value}")
    foreign = [key for key, target in nodes.items() if str(target).partition(".")[0] not in OURS_AND_TORCHS]
    endless = {path: value for path, value in values.items() if isinstance(value, float) and not math.isfinite(value)}
    for path, value in endless.items():
        if math.isnan(value) or not any(path.startswith(f"{key}.") for key in foreign):
            raise UserError(f"{path} must be a finite number, got {value}")


def check(cfg: TrainConfig) -> None:
    """Checks a configuration; torch is not needed. What flows need, ``distill.training.flows`` checks.

    Args:
        cfg: from ``distill.config.schema.typed``.

    Raises:
        UserError: the first bad value: its key, its value, the allowed values.
    """
    values = dict(_nodes(cfg))
    present(cfg)
    _no_others(cfg)
    for path, node in values.items():
        if isinstance(node, dict) and "_target_" in node:
            check_node(path, node)
    _finite(values)
    _choices(cfg)
    _distillation(cfg)
    _numbers(values)
    _files(cfg)
