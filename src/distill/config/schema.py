"""The shape of a configuration: which keys exist and of what type. Values are checked in ``distill.config.validation``.

Only ``dataclasses`` and Hydra are imported here: a configuration is known to be good before anything heavy loads.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, TypeVar

from hydra.core.config_store import ConfigStore
from omegaconf import II, MISSING, DictConfig, OmegaConf

from distill.utils.invocation import invocation

T = TypeVar("T")

Node = dict[str, Any]  # ``_target_`` and its arguments, or options under their names


class Only(Enum):
    """The parts of the job that can be run alone."""

    teacher = "teacher"


class Quantize(Enum):
    """What a student learns to live with."""

    int8 = "int8"


@dataclass
class TermConfig:
    """One named term: a loss (``_target_`` and its arguments), its weight, the layers it reads."""

    loss: Node = MISSING
    weight: Any = 1.0  # a number or a schedule
    student: Any = None  # a stage's number, a module path, or a list of these; null on both sides: all matching stages
    teacher: Any = None
    standardize: bool = II("kd.standardize")
    pretraining: Any = None  # {epochs: whole number or share of trainer.max_epochs, weight: 1.0}: a first phase


@dataclass
class KDConfig:
    """L = alpha · L_hard + (1 − alpha) · L_soft + feature and relation terms.

    Numbers of this node (alpha, T, weights, arguments of losses) may be schedules, see ``distill.config.schedules``.
    """

    alpha: Any = 1.0  # in [0, 1]; null: L = L_hard + Σ weight · term
    T: Any = 4.0
    label_smoothing: float = 0.0
    standardize: bool = False  # z-score the logits of every logit term (LSKD)
    terms: dict[str, TermConfig] = field(default_factory=dict)
    teachers: Any = None  # a list: more teachers besides the main one
    ensemble: Any = None  # how several teachers become one
    assistants: Any = None  # a list: models between teacher and student, each distilled from the one before
    generations: int = 1  # number of students, each distilled from the one before
    peers: Any = None  # a list: further students; all learn from each other (mutual learning)
    flow: Any = None  # a node: another training flow, see ``distill.training.flows``
    student_wrapper: Node | None = None  # makes another student of student and teacher


@dataclass
class DataConfig:
    """A dataset and how it is shown; see ``distill.data.DataModule``."""

    name: str = MISSING
    source: Node = MISSING
    root: str | None = None
    batch_size: int = 128
    eval_batch_size: int | None = None
    image_size: int | None = None
    in_memory: bool | None = None
    memory_gb: float = 2.0
    augment: Node | None = field(default_factory=dict)
    transform: Node | None = field(default_factory=dict)
    mean: list[float] | None = None
    std: list[float] | None = None
    num_workers: int | None = None
    num_classes: int | None = None
    val_fraction: float = 0.1
    test_fraction: float = 0.2
    split_seed: int = 0
    subset: int | None = None
    on_broken: str = "error"


@dataclass
class RecipeConfig:
    """How a teacher without a checkpoint is trained. Nothing of the student's recipe changes it."""

    max_epochs: int = MISSING
    batch_size: int = 128
    label_smoothing: float = 0.0
    gradient_clip_val: float | None = None
    seed: int = 0
    optimizer: Node = MISSING
    scheduler: Node | None = None


@dataclass
class TrainerConfig:
    """Arguments of ``lightning.pytorch.Trainer``; more can be added with ``+trainer.<name>=``."""

    _target_: str = "lightning.pytorch.Trainer"
    max_epochs: int = MISSING
    accelerator: str = "auto"
    devices: Any = 1
    num_nodes: int = 1
    strategy: Any = "auto"
    precision: Any = "auto"
    gradient_clip_val: float | None = None
    accumulate_grad_batches: int = 1
    log_every_n_steps: int = 50
    check_val_every_n_epoch: int = 1
    limit_train_batches: Any = None
    limit_val_batches: Any = None
    limit_test_batches: Any = None
    deterministic: Any = False
    enable_progress_bar: bool | None = None  # null: where the output is a terminal


@dataclass
class CacheConfig:
    """The teacher's outputs, kept for later runs with the same views; see ``distill.distillation.teacher_cache``."""

    enabled: bool | None = None  # null: where it can be used and fits; true: what does not fit is an error
    dir: str = "outputs/teacher_cache"
    max_gb: float = 5.0  # of all caches together
    top_k: int | None = None  # keep so many logits; null: all
    cycle: int | None = None  # the student's views repeat after so many epochs; null: never


@dataclass
class TrainConfig:
    """The whole configuration of ``train.py``."""

    model: Node = MISSING
    teacher: Node = field(default_factory=dict)
    data: DataConfig = MISSING
    kd: KDConfig = MISSING
    optimizer: Node = MISSING
    scheduler: Node | None = None
    trainer: TrainerConfig = MISSING
    logger: Node = field(default_factory=dict)
    callbacks: Node = field(default_factory=dict)
    seed: int = 0
    only: Only | None = None
    resume: str | None = None
    init: str | None = None
    quantize: Quantize | None = None
    channels_last: bool = True
    compile: Any = "auto"
    cuda_graph: bool = True
    prefetch: bool = False
    teachers_dir: str = "outputs/teachers"
    cache: CacheConfig = field(default_factory=CacheConfig)
    log_level: str = "info"
    threads: int | None = None


def from_node(cls: type[T], node: Any) -> T:
    """A dataclass from its node. Keys that it has no field for become attributes; what is missing stays ``???``."""
    if not isinstance(node, dict):
        made: T = node
        return made
    names = {item.name for item in fields(cls)}  # type: ignore[arg-type]
    made = cls(**{key: value for key, value in node.items() if key in names})
    vars(made).update({key: value for key, value in node.items() if key not in names})
    return made


def typed(config: DictConfig | Mapping[str, Any]) -> TrainConfig:
    """The configuration as dataclasses, interpolations resolved.

    ``vars(cfg.trainer)`` holds the keys that were added on the command line (``+trainer.max_steps=3``), too.

    Args:
        config: as Hydra composes it, or the plain mapping that a finished run keeps of it.

    Raises:
        MissingMandatoryValue: a composed configuration without a value for a mandatory key.
    """
    node: Any = config
    if isinstance(config, DictConfig):
        node = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    cfg = from_node(TrainConfig, dict(node))
    cfg.data = from_node(DataConfig, cfg.data)
    cfg.kd = from_node(KDConfig, cfg.kd)
    cfg.trainer = from_node(TrainerConfig, cfg.trainer)
    cfg.cache = from_node(CacheConfig, cfg.cache)
    if isinstance(cfg.kd, KDConfig):
        cfg.kd.terms = {name: from_node(TermConfig, term) for name, term in cfg.kd.terms.items()}
    return cfg


def register() -> None:
    """Registers what ``conf/train.yaml`` needs: the schema, and the resolver of its help."""
    OmegaConf.register_new_resolver("invocation", invocation, replace=True)
    store = ConfigStore.instance()
    store.store(name="schema", node=TrainConfig)
    store.store(name="teacher_recipe_schema", node=RecipeConfig)


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a plain configuration with its dotted key; lists and empty nodes are values."""
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
