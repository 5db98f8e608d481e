"""Texts as a DataModule: tokenised once, in batches of like length."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from distill.data.datamodule import DataModule, LoadedData, Source, SplitName
from distill.data.loader import BatchDataset
from distill.data.options import DataOptions
from distill.data.splits import Split
from distill.data.text.as_text_set import as_text_set
from distill.data.text.batches import EncodedSplit, Side, TextBatches
from distill.data.text.buckets import LengthSampler
from distill.data.text.dataset import TextSet
from distill.data.text.encode_splits import encode_splits
from distill.data.text.encoded import Encoded
from distill.data.text.overlap import warn_of_shared
from distill.data.text.preprocess import TextPreprocess
from distill.data.text.tokenize import load_tokenizer
from distill.utils.distributed import computed_once, is_rank_zero
from distill.utils.errors import UserError
from distill.utils.files import printable

SHORTEST = 8


@dataclass(frozen=True)
class TextOptions:
    """The options of a TextDataModule that concern texts.

    Args:
        tokenizer: folder of a tokenizer, or its name on the Hugging Face hub.
        teacher_tokenizer: the teacher's; None: the same. Where its content is another the teacher gets ids of its own.
        max_length: tokens at which a text is cut; None: the 99th percentile of the training texts, rounded up to a
            multiple of 8, at most 512 and what the tokenizer says its models take.
        teacher_max_length: likewise, of a teacher with another vocabulary.
        keys: the options that the user named both tokenizers by, for errors.

    Raises:
        UserError: for a value out of range.
    """

    tokenizer: str
    teacher_tokenizer: str | None = None
    max_length: int | None = None
    teacher_max_length: int | None = None
    keys: tuple[str, str] = ("data.tokenizer", "data.teacher_tokenizer")

    def __post_init__(self) -> None:
        if not self.tokenizer:
            raise UserError("data.tokenizer= must name a tokenizer: a folder, or a name on the Hugging Face hub")
        for key in ("max_length", "teacher_max_length"):
            length = getattr(self, key)
            if length is not None and (not isinstance(length, int) or isinstance(length, bool) or length < SHORTEST):
                raise UserError(f"data.{key} must be a whole number, {SHORTEST} or more, or null, got {length!r}")


@dataclass(frozen=True)
class LoadedTexts(LoadedData):
    """Every split's tokens.

    Attributes:
        student: how the student reads the texts.
        teacher: how the teacher does; None: as the student.
        cut: share of the training texts that are longer than ``student.max_length`` tokens.
        preprocess: of new texts.
    """

    splits: dict[str, EncodedSplit]
    student: Side
    teacher: Side | None
    cut: float
    preprocess: TextPreprocess


class TextDataModule(DataModule[LoadedTexts]):
    """Batches from a source of texts.

    Args:
        source: returns ``Splits``, one dataset, or an object with train, val, test and classes.
        options: of splits and batches.
        text_options: the tokenizer, and where texts are cut.

    Raises:
        UserError: in ``setup``, for data that do not fit together.
    """

    kind = "text"
    as_dataset = staticmethod(as_text_set)

    def __init__(self, source: Source, options: DataOptions, text_options: TextOptions) -> None:
        super().__init__(source, options)
        self.text_options = text_options
        self._is_teachers = False

    @classmethod
    def from_options(cls, source: Source, batch_size: int, **options: Any) -> "TextDataModule":
        """From the flat keys of the configuration's node ``data``, those of ``TextOptions`` among them."""
        names = {each.name for each in fields(TextOptions)} & options.keys()
        chosen = {"tokenizer": "", **{name: options.pop(name) for name in names}}
        return cls(source, DataOptions(batch_size, **options), TextOptions(**chosen))

    @staticmethod
    def option_names() -> set[str]:
        """The keys that :meth:`from_options` takes beside ``source`` and ``batch_size``."""
        return {each.name for each in (*fields(DataOptions), *fields(TextOptions))} - {"batch_size"}

    def of_teacher(self) -> "TextDataModule":
        """The same texts as the teacher reads them; with one tokenizer for both as they are."""
        if self._is_teachers or self.loaded.teacher is None:
            return self
        other = self.with_options()
        other._is_teachers = True
        return other

    def load(self, splits: dict[str, Split[TextSet]], classes: list[str]) -> LoadedTexts:
        """Tokenise every split."""
        options, words = self.text_options, self.options.targets == "tokens"
        own = load_tokenizer(options.tokenizer, options.keys[0], words)
        other = own
        if options.teacher_tokenizer is not None and options.teacher_tokenizer != options.tokenizer:
            other = load_tokenizer(options.teacher_tokenizer, options.keys[1], words)
        is_other = other.content != own.content
        if is_other and words:
            raise UserError(
                f"task=tokens needs one tokenizer for student and teacher, and data.tokenizer={own.name} and "
                f"data.teacher_tokenizer={other.name} differ"
            )
        both = replace(own, with_types=own.with_types or (not is_other and other.with_types))
        if not is_other and other.limit is not None:  # one tokenizer, perhaps with two limits
            both = replace(both, limit=min(own.limit or other.limit, other.limit))
        if self.options.for_training and is_rank_zero():
            warn_of_shared(splits)
        which = "training texts" if self.options.for_training else "texts"
        encoded, max_length, cut = computed_once(lambda: encode_splits(splits, both, options.max_length, words, which))
        teacher, for_teacher = None, dict[str, Encoded]()
        if is_other:
            for_teacher, teacher_length, _ = computed_once(
                lambda: encode_splits(splits, other, options.teacher_max_length, words, which, "the teacher's ")
            )
            teacher = Side(other, teacher_length)
        elif other.with_types != own.with_types:
            teacher = Side(other, max_length)
        loaded = {
            name: EncodedSplit(split.dataset, split.rows, encoded[name], for_teacher.get(name))
            for name, split in splits.items()
        }
        pairs = splits["train"].dataset.pairs is not None
        preprocess = TextPreprocess(own.name, max_length, pairs, words)
        settings = [own.content, own.with_types, max_length, classes, self.options.targets, self.options.subset]
        settings += [] if teacher is None else [other.content, other.with_types, teacher.max_length]
        digest = text_fingerprint(loaded, settings)
        return LoadedTexts(loaded, classes, digest, True, Side(own, max_length), teacher, cut, preprocess)

    @property
    def preprocess(self) -> TextPreprocess:
        """How new texts become inputs."""
        return self.loaded.preprocess

    def model_arguments(self, output: str) -> dict[str, Any]:
        """What a model's constructor is told of the data; ``output``: what the task says that it predicts."""
        return {"class_names": list(self.classes), "output": output}

    def describe(self) -> dict[str, Any]:
        """What was trained and measured on, for the record of a run."""
        loaded = self.loaded
        text = {
            "tokenizer": loaded.student.tokenizer.name,
            "max_length": loaded.student.max_length,
            "cut": loaded.cut,
            "preprocess": loaded.preprocess.as_dict(),
        }
        return super().describe() | text

    def example(self, n: int = 2) -> dict[str, Tensor]:
        """The inputs of the first ``n`` training texts, int64 (n, L), for a dry forward."""
        inputs: dict[str, Tensor] = self.dataset("train", train=False)[0, torch.arange(min(n, self.num_train))].inputs
        return inputs

    @property
    def chosen(self) -> dict[str, Any]:
        """Where texts are cut."""
        loaded = self.loaded
        teachers = {"teacher_max_length": loaded.teacher.max_length} if loaded.teacher and self.has_other_inputs else {}
        return {"max_length": loaded.student.max_length, **teachers}

    @property
    def has_other_inputs(self) -> bool:
        """Whether the teacher reads the texts with another vocabulary."""
        return any(split.teacher is not None for split in self.loaded.splits.values())

    @property
    def input_shape(self) -> list[int]:
        """The most tokens of a text."""
        loaded = self.loaded
        side = loaded.teacher if self._is_teachers and loaded.teacher is not None else loaded.student
        return [side.max_length]

    @property
    def vocabulary(self) -> tuple[str, int]:
        """The tokenizer's name, and one more than the largest of its ids."""
        loaded = self.loaded
        side = loaded.teacher if self._is_teachers and loaded.teacher is not None else loaded.student
        return printable(side.tokenizer.name), side.tokenizer.size

    @property
    def described_shape(self) -> str:
        """The same in words."""
        return f"up to {self.loaded.student.max_length} tokens"

    def show(self, split: str, index: int) -> str:
        """A text, or a pair with a line between, by its ``Batch.index``."""
        text = self.text(split, index)
        return text if isinstance(text, str) else "\n—\n".join(text)

    def text(self, split: str, index: int) -> str | tuple[str, str]:
        """A text, or a pair, as its source has it, by its ``Batch.index``; of words with blanks between them."""
        return self.loaded.splits[split].dataset.text(index)

    def words(self, split: str, index: int) -> list[str]:
        """The words of a sentence that the models see, those before its cut, by its ``Batch.index``."""
        data, side = self.loaded.splits[split].dataset, self.loaded.student
        words: list[str] = data.texts[index].as_py()
        places = side.tokenizer.first_tokens([words], side.max_length)[0].tolist()
        return [word for word, place in zip(words, places, strict=True) if place >= 0]

    def file(self, split: str, index: int) -> str | None:
        """Where a text comes from, by its ``Batch.index``: ``"train.jsonl:7"``; None of one that is in no text file."""
        return self.loaded.splits[split].dataset.places.file_line(index)

    def dataset(self, split: SplitName, train: bool) -> TextBatches:  # noqa: ARG002 - texts are not augmented
        """A split as the loaders read it."""
        loaded, texts = self.loaded, self.loaded.splits[split]
        if not self._is_teachers:
            return TextBatches(texts, loaded.student, loaded.teacher)
        assert loaded.teacher is not None
        return TextBatches(replace(texts, encoded=texts.teacher or texts.encoded), loaded.teacher, None)

    def sampler(self, dataset: BatchDataset, size: int, train: bool) -> LengthSampler:
        """Batches of like length: in training in random order, else from short to long."""
        assert isinstance(dataset, TextBatches)
        return LengthSampler(dataset.lengths, size, self.seed, shuffle=train, drop_last=train)


def text_fingerprint(splits: Mapping[str, Split[TextSet]], settings: list[Any]) -> str:
    """Hex digest of each split's rows, labels and texts, and of the settings that shape a batch."""
    hasher = hashlib.sha256(repr(settings).encode())
    for name, split in splits.items():
        labels = split.dataset.labels[split.rows].contiguous().numpy().tobytes()
        for part in (name.encode(), split.rows.numpy().tobytes(), labels, split.dataset.identity(split.rows)):
            hasher.update(hashlib.sha256(part).digest())
    return hasher.hexdigest()
