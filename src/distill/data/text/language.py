"""Documents and conversations as a language model's DataModule: tokenised once, packed into rows of one length."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from distill.data.datamodule import SplitName
from distill.data.loader import Batch, BatchDataset
from distill.data.sampler import Key, ViewSampler
from distill.data.splits import Split
from distill.data.text.batches import Side
from distill.data.text.chat import answers_of
from distill.data.text.datamodule import LoadedTexts, TextDataModule, text_fingerprint
from distill.data.text.dataset import TextSet
from distill.data.text.encode_splits import LONGEST
from distill.data.text.encoded import Encoded, Growing, offsets_of
from distill.data.text.overlap import warn_of_shared
from distill.data.text.packing import Packed, pack
from distill.data.text.preprocess import TextPreprocess
from distill.data.text.tokenize import TextTokenizer, load_tokenizer
from distill.utils.distributed import computed_once, is_rank_zero
from distill.utils.errors import UserError
from distill.utils.files import printable

log = logging.getLogger(__name__)

_AT_A_TIME = 1024  # conversations that are tokenised at a time


@dataclass(frozen=True)
class PackedSplit(Split[TextSet]):
    """A split as rows of packed documents, numbered from 0; ``documents``: rows of the dataset."""

    packed: Packed
    documents: Tensor


class PackedBatches:
    """Batches of a split's packed rows.

    Args:
        split: its rows.
        side: how the model reads them.
    """

    def __init__(self, split: PackedSplit, side: Side) -> None:
        self._packed, self._pad_id, self._max_length = split.packed, side.tokenizer.pad_id, side.max_length

    @property
    def device(self) -> torch.device:
        """The CPU: token ids are few bytes."""
        return torch.device("cpu")

    @property
    def lengths(self) -> Tensor:
        """Tokens of each row, int64 (N,)."""
        return self._packed.lengths

    def __len__(self) -> int:
        return len(self._packed)

    def __getitem__(self, key: Key) -> Batch:
        _, at = key
        inputs, target = self._packed.batch(at, self._pad_id, self._max_length)
        return Batch(inputs, target, at)


class LanguageDataModule(TextDataModule):
    """Batches of packed documents, whose targets are their own next tokens.

    A sample is a row of at most ``max_length`` tokens, of one document or several; ``Batch.index`` is its number.
    """

    def load(self, splits: dict[str, Split[TextSet]], classes: list[str]) -> LoadedTexts:
        """Tokenise and pack every split."""
        options = self.text_options
        own = load_tokenizer(options.tokenizer, options.keys[0], causal=True)
        if options.teacher_tokenizer is not None and options.teacher_tokenizer != options.tokenizer:
            other = load_tokenizer(options.teacher_tokenizer, options.keys[1], causal=True)
            if other.backend.get_vocab() != own.backend.get_vocab():
                raise UserError(
                    f"a language model and its teacher need one vocabulary, and {printable(own.name)} "
                    f"({own.size:,} tokens) and {printable(other.name)} ({other.size:,}) differ"
                )
        max_length = _max_length(options.max_length, own)
        if self.options.for_training and is_rank_zero():
            warn_of_shared(splits)
        loaded: dict[str, Split[TextSet]] = {}
        share, digests = 0.0, list[str]()
        for name, split in splits.items():
            packed, longer = computed_once(lambda split=split: _packed(split, own, max_length))  # type: ignore[misc]
            if not len(packed):
                raise UserError(f"the {name} split has no token to learn: its documents have one token each, or none")
            digests.append(packed.digest)
            loaded[name] = PackedSplit(split.dataset, torch.arange(len(packed)), packed, split.rows)
            share = longer if name == "train" else share
        if share:
            log.info(f"max_length={max_length} splits {100 * share:.3g} % of the training documents, which are longer")
        preprocess = TextPreprocess(own.name, max_length, causal=True)
        digest = text_fingerprint(
            splits, [own.content, max_length, self.options.targets, self.options.subset, *digests]
        )
        return LoadedTexts(loaded, classes, digest, True, Side(own, max_length), None, share, preprocess)  # type: ignore[arg-type]

    def of_teacher(self) -> "LanguageDataModule":
        """The same: student and teacher have one vocabulary."""
        return self

    def dataset(self, split: SplitName, train: bool) -> PackedBatches:  # type: ignore[override]  # noqa: ARG002
        """A split as the loaders read it."""
        return PackedBatches(self._split(split), self.loaded.student)

    def sampler(self, dataset: BatchDataset, size: int, train: bool) -> ViewSampler:  # type: ignore[override]
        """Rows in random order, in training; they are of like length."""
        return ViewSampler(len(dataset), size, self.seed, shuffle=train, drop_last=train)

    def _split(self, split: str) -> PackedSplit:
        found = self.loaded.splits[split]
        assert isinstance(found, PackedSplit)
        return found

    @property
    def has_other_inputs(self) -> bool:
        """Never: see ``of_teacher``."""
        return False

    @property
    def described_shape(self) -> str:
        """The length of a row, and how many tokens are learnt."""
        learnt = int(self._split("train").packed.learnt.sum())
        return f"{learnt:,} training tokens in rows of {self.loaded.student.max_length}"

    def text(self, split: str, index: int) -> str:
        """The documents of a row as their source has them, with an empty line between."""
        found = self._split(split)
        rows = found.documents[found.packed.documents_of(index)].tolist()
        return "\n\n".join(str(found.dataset.text(row)) for row in rows)

    def beginning(self, split: str, index: int, tokens: int) -> tuple[list[int], list[int]]:
        """The first tokens of a row's first document, half of it at most, and as many of what follows there."""
        packed = self._split(split).packed
        begin, end = int(packed.offsets[index]), int(packed.offsets[index + 1])
        length = int((packed.pieces[begin:end] == packed.pieces[begin]).sum())
        ids, first = packed.ids[begin : begin + length].tolist(), max(1, min(tokens, length // 2))
        return ids[:first], ids[first : 3 * first]

    def file(self, split: str, index: int) -> str | None:
        """Where the first document of a row comes from."""
        found = self._split(split)
        return found.dataset.places.file_line(int(found.documents[found.packed.documents_of(index)[0]]))


def _max_length(chosen: int | None, tokenizer: TextTokenizer) -> int:
    limit = tokenizer.limit
    if chosen is not None and limit is not None and chosen > limit:
        raise UserError(f"data.max_length={chosen}: the tokenizer {tokenizer.name} is for at most {limit} tokens")
    return chosen or min(LONGEST, limit or LONGEST)


def _packed(split: Split[TextSet], tokenizer: TextTokenizer, max_length: int) -> tuple[Packed, float]:
    """A split's rows, and the share of its documents that are longer than one."""
    encoded, learnt = _conversations(split, tokenizer) if split.dataset.chat else _documents(split, tokenizer)
    longer = float((encoded.lengths > max_length).float().mean())
    return pack(encoded.ids, learnt, encoded.offsets, max_length), longer


def _documents(split: Split[TextSet], tokenizer: TextTokenizer) -> tuple[Encoded, Tensor]:
    """The tokens of documents, each with the token that ends a text, all of which are learnt."""
    plain = replace(tokenizer, with_types=False)
    encoded = plain.encode(split.dataset.blocks(split.rows))
    end = tokenizer.whole.eos_token_id
    if end is not None:
        last = encoded.ids[(encoded.offsets[1:] - 1).clamp(min=0)]
        added = ((last != end) | (encoded.lengths == 0)).long()
        lengths = encoded.lengths + added
        offsets = offsets_of(lengths.numpy())
        ids = torch.full((int(offsets[-1]),), end, dtype=torch.int32)
        shift = (offsets[:-1] - encoded.offsets[:-1]).repeat_interleave(encoded.lengths)
        ids[torch.arange(len(encoded.ids)) + shift] = encoded.ids
        encoded = Encoded(ids, offsets)
    return encoded, torch.ones(len(encoded.ids), dtype=torch.bool)


def _conversations(split: Split[TextSet], tokenizer: TextTokenizer) -> tuple[Encoded, Tensor]:
    """The tokens of conversations by the tokenizer's template, of which those of the answers are learnt."""
    ids, lengths, learnt = Growing(np.int32), Growing(np.int64), Growing(np.bool_)
    name = printable(tokenizer.name)
    rows = iter(split.rows.tolist())
    blocks = split.dataset.blocks(split.rows)
    for texts in _parts(chain.from_iterable(blocks)):
        rendered = [
            answers_of(tokenizer.whole, name, json.loads(text), split.dataset.name(row))
            for text, row in zip(texts, rows, strict=False)
        ]
        encodings = tokenizer.backend.encode_batch([text for text, _ in rendered], add_special_tokens=False)
        for encoding, (_, spans) in zip(encodings, rendered, strict=True):
            places = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
            inside = np.zeros(len(places), dtype=np.bool_)
            for begin, end in spans:
                inside |= (places[:, 0] >= begin) & (places[:, 1] <= end) & (places[:, 1] > places[:, 0])
            ids.add(np.array(encoding.ids, dtype=np.int32))
            lengths.add(np.array([len(encoding.ids)], dtype=np.int64))
            learnt.add(inside)
    encoded = Encoded(torch.from_numpy(ids.finish()), offsets_of(lengths.finish()))
    return encoded, torch.from_numpy(learnt.finish())


def _parts(texts: Iterator[str]) -> Iterator[list[str]]:
    part: list[str] = []
    for text in texts:
        part.append(text)
        if len(part) == _AT_A_TIME:
            yield part
            part = []
    if part:
        yield part
