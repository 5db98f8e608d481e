"""The shape of a configuration: which keys exist and of what type. Values are checked in ``distill.config.validation``.

Only ``dataclasses`` and Hydra are imported here: a configuration is known to be good before anything heavy loads.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, TypeVar

from hydra.core.config_store import ConfigStore
from omegaconf import II, MISSING, DictConfig, OmegaConf

from distill.config.default_teacher import default_teacher
from distill.utils.atomic import new_folder

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

    loss: Node = MISSING  # the loss: its class and arguments
    weight: Any = 1.0  # a number or a schedule
    student: Any = None  # a stage's number, a module path, or a list of these; null on both sides: all matching stages
    teacher: Any = None  # likewise, of the teacher
    standardize: bool = II("kd.standardize")  # z-score the logits first
    pretraining: Any = None  # {epochs: whole number or share of trainer.max_epochs, weight: 1.0}: a first phase


@dataclass
class KDConfig:
    """L = alpha · L_hard + (1 − alpha) · L_soft + feature and relation terms.

    Numbers of this node (alpha, T, weights, arguments of losses) may be schedules, see ``distill.config.schedules``.
    """

    alpha: Any = 1.0  # in [0, 1]; null: L = L_hard + Σ weight · term
    T: Any = 4.0  # temperature, above 0
    label_smoothing: float = 0.0  # share of a label that is spread over all classes
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
class AugmentConfig:
    """The training views; see ``distill.data.vision.augment.Augment``."""

    crop_padding: int | None = 0
    flip: bool = False
    cutout: int = 0
    scale: list[float] | None = None
    mixup: float = 0.0
    cutmix: float = 0.0


@dataclass
class DataConfig:
    """A dataset and how it is shown; see ``distill.data.ImageDataModule``."""

    name: str = MISSING  # as tables and folders call it
    kind: str = "images"  # what the samples are: images, text
    source: Node = MISSING
    root: str | None = None  # the folder of the images or files
    image: str | None = None  # column of a table with the images, or their files
    text: str | None = None  # column of a table with the texts
    text_pair: str | None = None  # likewise, with the second text of each sample
    tokenizer: str | None = None  # of the student: a folder, or a name of the Hugging Face Hub
    teacher_tokenizer: str | None = None  # of the teacher; null: the student's
    max_length: int | None = None  # tokens; longer texts are cut; null: by the lengths of the training texts
    teacher_max_length: int | None = None  # likewise, of a teacher with another tokenizer
    label: Any = None  # column of a table with the labels, or a list of columns
    batch_size: Any = None  # a whole number; null: by the number of images, at most 64
    eval_batch_size: int | None = None  # samples per batch of validation and test; null: batch_size
    image_size: int | None = None
    in_memory: bool | None = None
    memory_gb: float = 2.0  # limit of in_memory=null, in GB
    augment: AugmentConfig | None = field(default_factory=AugmentConfig)  # random changes of a training image
    transform: Node | None = field(default_factory=dict)  # a callable of your own on a training image
    mean: list[float] | None = None  # per channel, pixels in 0..1; null: of the training images
    std: list[float] | None = None  # likewise
    num_workers: int | None = None
    num_classes: int | None = None  # null: counted; a number that the data must have
    val_fraction: float = 0.1
    test_fraction: float = 0.2
    split_seed: int = 0  # of the random splits
    subset: int | None = None  # train on so many images only; null: all
    on_broken: str = "error"


@dataclass
class RecipeConfig:
    """How a teacher without a checkpoint is trained. Nothing of the student's recipe changes it."""

    max_epochs: Any = None  # a whole number; null: by the number of images, at least 20
    batch_size: Any = None  # a whole number; null: as the student's
    label_smoothing: float = 0.0  # share of a label that is spread over all classes
    gradient_clip_val: float | None = None  # largest norm of the gradient; null: any
    seed: int = 0  # the teacher's initialisation, data order and views
    optimizer: Node = MISSING
    scheduler: Node | None = None


@dataclass
class TrainerConfig:
    """Arguments of ``lightning.pytorch.Trainer``; more can be added with ``+trainer.<name>=``."""

    _target_: str = "lightning.pytorch.Trainer"
    max_epochs: Any = None  # a whole number; null: by the number of images, at least 20
    accelerator: str = "auto"  # cpu, gpu (cuda, mps), tpu; auto: whichever is there
    devices: Any = 1  # how many, or a list of their numbers
    num_nodes: int = 1  # machines; see docs/distributed.md
    strategy: Any = "auto"  # of several devices: ddp, fsdp
    precision: Any = "auto"
    gradient_clip_val: float | None = None  # largest norm of the gradient; null: any
    accumulate_grad_batches: int = 1  # batches per optimizer step
    log_every_n_steps: int = 50  # for logger=wandb and the like
    check_val_every_n_epoch: int = 1  # validate after every n-th epoch
    limit_train_batches: Any = None  # batches per epoch: a number, or a share; null: all
    limit_val_batches: Any = None  # likewise, of validation
    limit_test_batches: Any = None  # likewise, of the test
    deterministic: Any = False  # true: refuse operations whose result varies
    enable_progress_bar: bool | None = None  # null: where the output is a terminal


@dataclass
class CacheConfig:
    """The teacher's outputs, kept for later runs with the same views; see ``distill.distillation.teacher_cache``."""

    enabled: bool | None = None  # null: where it can be used and fits; true: what does not fit is an error
    dir: str = "outputs/teacher_cache"  # a folder of its own
    max_gb: float = 5.0  # of all caches together
    top_k: int | None = None  # keep so many logits; null: all
    sampled: int | None = None  # of a language model: draw so many tokens from each distribution; null: none
    only: bool = False  # of a language model: fill the cache and stop
    cycle: int | None = None  # the student's views repeat after so many epochs; null: never


@dataclass
class TrainConfig:
    """The whole configuration of ``train.py``."""

    model: Node = MISSING
    teacher: Node = field(default_factory=dict)
    data: DataConfig = MISSING
    kd: KDConfig = MISSING
    task: Node = field(default_factory=lambda: {"_target_": "distill.tasks.classification.Classification"})
    optimizer: Node = MISSING
    scheduler: Node | None = None
    trainer: TrainerConfig = MISSING
    logger: Node = field(default_factory=dict)
    callbacks: Node = field(default_factory=dict)
    load_best_model_at_end: bool = True
    seed: int = 0
    only: Only | None = None
    resume: str | None = None
    init: str | None = None
    quantize: Quantize | None = None
    channels_last: bool = True
    compile: Any = "auto"
    cuda_graph: bool = True
    prefetch: bool = False
    teachers_dir: str = "outputs/teachers"  # where trained teachers are kept
    cache: CacheConfig = field(default_factory=CacheConfig)
    log_level: str = "info"
    threads: int | None = None
    code: str | None = None


def from_node(cls: type[T], node: Any) -> T:
    """A dataclass from its node. Keys that it has no field for become attributes; what is missing stays ``???``."""
    if not isinstance(node, dict):
        made: T = node
        return made
    names = {item.name for item in fields(cls)}  # type: ignore[arg-type]
    made = cls(**{key: value for key, value in node.items() if key in names})
    vars(made).update({key: value for key, value in node.items() if key not in names})
    return made


def checked(config: Mapping[str, Any]) -> dict[str, Any]:
    """The plain mapping that a run keeps of its configuration, its values of the schema's types.

    Raises:
        OmegaConfBaseException: a value of another type: somebody has edited it.
    """
    node = OmegaConf.structured(TrainConfig)
    OmegaConf.set_struct(node, False)  # keys that were added on the command line
    node.merge_with(config)
    content: Any = OmegaConf.to_container(node, enum_to_str=True)
    return {str(key): content[key] for key in config}


def typed(config: DictConfig | Mapping[str, Any]) -> TrainConfig:
    """The configuration as dataclasses, interpolations resolved.

    ``vars(cfg.trainer)`` holds the keys that were added on the command line (``+trainer.min_epochs=3``), too.

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
    """Registers what ``conf/train.yaml`` needs: the schema, and its resolvers."""
    OmegaConf.register_new_resolver("default_teacher", default_teacher, replace=True)
    OmegaConf.register_new_resolver("new_folder", new_folder, replace=True, use_cache=True)
    store = ConfigStore.instance()
    store.store(name="schema", node=TrainConfig)
    store.store(name="teacher_recipe_schema", node=RecipeConfig)
    store.store(name="pretrained_schema", node={"backbone": None})
    store.store(name="pretrained_teacher_schema", node={"backbone": None, "preprocess": "auto"})


def walk(node: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every node and value of a plain configuration with its dotted key; lists are values."""
    for key, value in node.items():
        yield f"{prefix}{key}", value
        if isinstance(value, dict):
            yield from walk(value, f"{prefix}{key}.")


def leaves(node: Any) -> Iterator[tuple[str, Any]]:
    """Every value of a plain configuration with its dotted key; lists and empty nodes are values."""
    return ((key, value) for key, value in walk(node) if not isinstance(value, dict) or not value)
