"""Whether a training's teacher can be cached, how, and what it takes on disk."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from distill.config.schema import CacheConfig
from distill.data import DataModule
from distill.distillation.criterion import Criterion
from distill.distillation.model_info import ModelInfo
from distill.distillation.teacher import Teacher
from distill.distillation.teacher_cache.codecs import Codec, Half, TopK
from distill.distillation.teacher_cache.store import Key, Store, claim, make_room
from distill.distillation.teacher_cache.teacher import CachedTeacher, digest
from distill.distillation.teacher_cache.token_codecs import TokenCodec
from distill.distillation.teacher_cache.token_plan import check_room, token_codec
from distill.distillation.teacher_cache.token_teacher import CachedTokenTeacher
from distill.models.interface import class_axis
from distill.utils import distributed
from distill.utils.errors import UserError

GB = 1e9


@dataclass(frozen=True)
class CachePlan:
    """How one training's teachers are cached.

    Attributes:
        options: ``cache`` of the configuration.
        codec: how training logits are stored.
        bytes: of the whole cache of one teacher, the first: that of others is as large or smaller.
        samples: index of every sample, by split.
        embedding: whether a term reads the (first) teacher's.
        key: what determines the outputs besides the teacher.
        cycle: after how many epochs the views repeat; None: never.
        length: of logits (N, L, C), the largest L; None: they are (N, C).
        problem: why ``cache.dir`` cannot be written, if that is so. Answers pass through the codec all the same: the
            results are those of a run that writes them.
        tokens: how a language model's distributions are stored, in place of ``codec``.
    """

    options: CacheConfig
    codec: Codec
    bytes: int
    samples: dict[str, Tensor]
    embedding: bool
    key: Key
    cycle: int | None
    length: int | None = None
    problem: OSError | None = None
    tokens: TokenCodec | None = None

    def wrap(self, teachers: Sequence[Teacher]) -> list[CachedTeacher]:
        """Each teacher with its cache; embeddings are those of the first."""
        root = Path(self.options.dir)
        stores = []
        for teacher in teachers:
            key = {
                "teacher": digest(teacher.model),
                "answers in": teacher.precision,
                "codec": repr(self.tokens or self.codec),
            }
            stores.append(Store(root, {**key, **self.key}, self.problem))
        if self.problem is None:
            make_room(root, self.bytes, int(self.options.max_gb * GB), keep=[store.folder for store in stores])
        if self.tokens is not None:
            assert self.length is not None
            return [
                CachedTokenTeacher(teacher, store, self.tokens, self.samples, self.length)
                for teacher, store in zip(teachers, stores, strict=True)
            ]
        return [
            CachedTeacher(teacher, store, self.codec, self.samples, self.cycle, self.embedding and i == 0, self.length)
            for i, (teacher, store) in enumerate(zip(teachers, stores, strict=True))
        ]


def _readable(size: int) -> str:
    return f"{size / GB:.3g} GB" if size >= GB else f"{size / 1e6:.3g} MB"


def _codec(options: CacheConfig, criterion: Criterion, classes: int) -> Codec:
    """How training logits are stored.

    Raises:
        UserError: for a ``cache.top_k`` that does not fit.
    """
    if options.top_k is None:
        return Half(classes)
    if criterion.task is not None and not criterion.task.has_classes:
        raise UserError(
            f"cache.top_k keeps the largest logits of a softmax, and task={criterion.task.info.name} has none"
        )
    if options.top_k >= classes:
        raise UserError(f"cache.top_k={options.top_k} must be below the number of classes, {classes}; null keeps all")
    return TopK(classes, options.top_k)


def plan(
    options: CacheConfig,
    criterion: Criterion,
    teacher: ModelInfo,
    data: DataModule[Any],
    epochs: int,
    precision: str | int,
    teachers: int = 1,
    vocabulary: int | None = None,
) -> tuple[CachePlan | None, str]:
    """A plan, or None, and one line that describes it or says why there is none.

    Args:
        options: ``cache`` of the configuration.
        criterion: built.
        teacher: its layers and shapes.
        data: the student's.
        epochs: of the training.
        precision: of the student, and of every evaluation.
        teachers: how many there are; ``teacher`` is the first.
        vocabulary: of language models, how many tokens there are.

    Raises:
        UserError: ``cache.enabled=true`` and it is too large or cannot be written; ``cache.dir`` holds something else.
    """
    if vocabulary is None and (options.sampled is not None or options.only):
        option = "only" if options.sampled is None else "sampled"
        raise UserError(f"cache.{option} is for the distributions of a language model: set task=causal_lm")
    if options.enabled is False:
        return None, "teacher cache: off"
    if distributed.is_distributed():
        return None, "teacher cache: not used, the job has several processes"
    if layered := [term.name for term in criterion.terms if criterion.teacher_layers[term.name]]:
        return None, f"teacher cache: not used, term '{layered[0]}' reads the teacher's inner layers: it runs live"
    if vocabulary is not None:
        return _of_tokens(options, criterion, data, vocabulary, str(precision))
    classes = teacher.logits[class_axis(len(teacher.logits))]
    length = data.input_shape[0] if len(teacher.logits) == 3 else None
    codec = _codec(options, criterion, classes)
    width = teacher.embedding[1] if criterion.reads("teacher_embedding") and teacher.embedding else 0
    cycle = options.cycle if data.random_views else 1
    views = min(epochs, cycle or epochs)
    samples = {split: data.indices(split) for split in ("train", "val", "test")}
    train, others = len(samples["train"]), len(samples["val"]) + len(samples["test"])
    places = teacher.logits[2:] if len(teacher.logits) == 4 else ()
    tokens = math.prod(places) if places else length or 1
    size = train * views * (tokens * codec.bytes + 2 * width + 1) + others * (4 * (tokens * classes + width) + 1)
    stored = f"{options.top_k} of {classes} logits" if options.top_k else f"{classes} logits"
    stored += f" of {length} tokens" if length else ""
    stored += f" of {places[0]} x {places[1]} places" if places else ""
    stored += f" + {width} of the embedding" if width else ""
    total = f"{views} epoch{'s' if views > 1 else ''} × {train} views × ({stored})"
    total += f"{f' × {teachers} teachers' if teachers > 1 else ''} = {_readable(size * teachers)}"
    if size * teachers > options.max_gb * GB:
        few = "" if len(teacher.logits) == 4 else "cache.top_k=<k> and "
        smaller = f"{few}cache.cycle=<epochs> make{'s' * (not few)} it smaller"
        if options.enabled:
            raise UserError(f"the teacher cache takes {total}, and cache.max_gb={options.max_gb:g}; {smaller}")
        return None, f"teacher cache: not used, {total} is above cache.max_gb={options.max_gb:g}; {smaller}"
    problem = None
    try:
        claim(Path(options.dir))
    except OSError as error:
        if options.enabled:
            raise UserError(f"cache.dir={options.dir} cannot be written: {error.strerror or error}") from error
        problem = error
    key: dict[str, str | int | None] = {"data": data.fingerprint, "precision": str(precision)}
    if data.random_views or data.kind == "images":  # a text looks the same in every run
        key["seed"] = data.seed
    line = f"teacher cache: {options.dir}, at most {total}"
    return CachePlan(options, codec, size, samples, width > 0, key, cycle, length, problem), line


def _of_tokens(
    options: CacheConfig, criterion: Criterion, data: DataModule[Any], vocabulary: int, precision: str
) -> tuple[CachePlan | None, str]:
    """As :func:`plan`, of a language model: its texts look the same in every epoch, and every split is stored alike."""
    codec = token_codec(options, criterion, vocabulary, data.seed)
    if codec is None:
        if options.only:
            raise UserError("cache.only fills the teacher cache: set cache.sampled=<n> or cache.top_k=<k>")
        return None, "teacher cache: not used, cache.sampled=<n> or cache.top_k=<k> say what to keep of a distribution"
    length, splits = data.input_shape[0], ("train", "val", "test")
    samples = {split: data.indices(split) for split in splits}
    rows = sum(len(index) for index in samples.values())
    size = rows * (length * codec.bytes + 1)
    total = f"{rows:,} rows × {length} tokens × {codec.bytes} bytes ({codec}) = {_readable(size)}"
    if size > options.max_gb * GB:
        raise UserError(f"the teacher cache takes {total}, and cache.max_gb={options.max_gb:g}")
    folder = Path(options.dir)
    check_room(folder, size)
    try:
        claim(folder)
    except OSError as error:
        raise UserError(f"cache.dir={options.dir} cannot be written: {error.strerror or error}") from error
    key: dict[str, str | int | None] = {"data": data.fingerprint, "precision": precision}
    whole = Half(vocabulary)  # of no use: what is stored is the tokens'
    plan_ = CachePlan(options, whole, size, samples, False, key, 1, length, tokens=codec)
    return plan_, f"teacher cache: {options.dir}, {total}"
