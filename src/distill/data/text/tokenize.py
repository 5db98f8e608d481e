"""Tokenisers of the Hugging Face hub, and texts as their tokens."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distill.data.targets import IGNORED
from distill.data.text.encoded import Encoded, Growing, offsets_of
from distill.utils.errors import UserError
from distill.utils.files import printable
from distill.utils.hub import locate_tokenizer, read_json, read_tokenizer, require_transformers

_IDS = 1_000_000  # that are counted at a time
_CHARACTERS, _TEXTS = 500_000, 1024  # that are tokenised at a time: what a tokenizer returns takes 100 bytes per token
_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "data2vec-text", "xlm-roberta-xl")


@dataclass(frozen=True)
class TextTokenizer:
    """A fast tokenizer.

    Attributes:
        name: folder or name on the hub.
        backend: of the package ``tokenizers``, which neither cuts nor pads by itself.
        pad_id: the token that fills up a batch.
        with_types: whether its models take ``token_type_ids``.
        limit: the most tokens that its models take; None: it does not say.
        side: where a text that is too long is cut, "right" or "left".
        whole: the tokenizer of transformers.
    """

    name: str
    backend: Any
    pad_id: int
    with_types: bool
    limit: int | None
    side: str
    whole: Any

    @property
    def content(self) -> str:
        """Hex digest of what turns texts into ids: the same of two copies of one tokenizer."""
        parts = [self.backend.to_str(), str(self.pad_id), self.side]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @property
    def size(self) -> int:
        """One more than the largest id."""
        return 1 + max(self.whole.get_vocab().values(), default=-1)

    def unknown(self, ids: Tensor) -> float:
        """Share of tokens, special ones not counted, that stand for what the vocabulary does not have.

        0 of a tokenizer without such a token, and of one that uses it for something else as well.
        """
        whole = self.whole
        unknown = whole.unk_token_id
        special = {*whole.all_special_ids, *self.backend.encode("").ids} - {unknown}
        others = (whole.pad_token_id, whole.cls_token_id, whole.sep_token_id, whole.bos_token_id, whole.eos_token_id)
        if unknown is None or unknown in others:
            return 0.0
        size = self.size
        counts = torch.zeros(size, dtype=torch.int64)
        for part in torch.split(ids, _IDS):
            counts += torch.bincount(part, minlength=size)
        counts[[*special]] = 0
        return float(counts[unknown] / counts.sum().clamp(min=1))

    def encode(
        self,
        blocks: Iterable[Sequence[Any]],
        words: bool = False,
        tags: Iterator[np.ndarray[Any, Any]] | None = None,
        max_length: int | None = None,
    ) -> Encoded:
        """The tokens of texts, special ones included.

        Args:
            blocks: texts, pairs of texts, or (``words``) lists of words, in lists of any length.
            words: the texts are lists of words.
            tags: the class of each word of each text, in their order.
            max_length: longer ones are cut, of a pair the longer text; None: none is.
        """
        self.backend.no_truncation()
        if max_length is not None:
            self.backend.enable_truncation(max_length, strategy="longest_first", direction=self.side)
        encode = self.backend.encode_batch_fast if tags is None else self.backend.encode_batch  # fast: without word_ids
        ids, types, labels, lengths = Growing(np.int32), Growing(np.uint8), Growing(np.int16), Growing(np.int64)
        num_cut = 0
        for texts in _pieces(blocks):
            encodings = encode(texts, is_pretokenized=words)
            ids.add(_flat([each.ids for each in encodings], np.int32))
            lengths.add(np.array([len(each.ids) for each in encodings], dtype=np.int64))
            if max_length is not None:  # a cut text is exactly as long, and what was cut off is kept beside it
                num_cut += sum(len(each.ids) >= max_length and len(each.overflowing) > 0 for each in encodings)
            if self.with_types:
                types.add(_flat([each.type_ids for each in encodings], np.uint8))
            if tags is not None:
                for each in encodings:
                    labels.add(_labels(each.word_ids, next(tags)))
        self.backend.no_truncation()
        all_types = types.finish()
        return Encoded(
            torch.from_numpy(ids.finish()),
            offsets_of(lengths.finish()),
            torch.from_numpy(all_types) if all_types.any() else None,
            torch.from_numpy(labels.finish()) if tags is not None else None,
            num_cut,
        )

    def first_tokens(self, sentences: Sequence[Sequence[str]], max_length: int) -> Tensor:
        """Of each word of each sentence the place of its first token, int64 (B, W), -1 where it was cut or has none."""
        self.backend.enable_truncation(max_length, strategy="longest_first", direction=self.side)
        encodings = self.backend.encode_batch([list(words) for words in sentences], is_pretokenized=True)
        self.backend.no_truncation()
        places = torch.full((len(sentences), max(map(len, sentences))), -1)
        for row, encoding in enumerate(encodings):
            for place, word in reversed([*enumerate(encoding.word_ids)]):
                if word is not None:
                    places[row, word] = place
        return places


def load_tokenizer(name: str, key: str = "data.tokenizer", words: bool = False, causal: bool = False) -> TextTokenizer:
    """The fast tokenizer of a folder, or of a model on the Hugging Face hub.

    Args:
        name: folder or name; code that comes with a model is never run.
        key: the option that names it, for errors.
        words: it will see words instead of texts.
        causal: of a language model, whose padding nothing sees: any token will do.

    Raises:
        UserError: transformers is missing, there is no tokenizer, only one that brings code, a slow one, or one without
            a padding token.
    """
    require_transformers("data=text")
    located = locate_tokenizer(name, key)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # else a loader's workers warn that they were forked
    loaded = read_tokenizer(located, key)
    if not loaded.is_fast:
        raise UserError(f"{key}={printable(name)}: this tokenizer has no fast version (tokenizer.json)")
    pad_id = loaded.pad_token_id if loaded.pad_token_id is not None or not causal else loaded.eos_token_id or 0
    if pad_id is None:
        raise UserError(
            f"{key}={printable(name)}: this tokenizer has no padding token, which texts of several lengths need: name "
            'one of its tokens as "pad_token" in its tokenizer_config.json'
        )
    backend = _of_words(loaded.backend_tokenizer) if words else loaded.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    with_types = "token_type_ids" in loaded.model_input_names
    limit = _limit(loaded, located)
    return TextTokenizer(located, backend, int(pad_id), with_types, limit, loaded.truncation_side, loaded)


def _of_words(backend: Any) -> Any:
    """The same, for words without the blanks before them: where these belong to the words they are put back."""
    content = json.loads(backend.to_str())
    step = content.get("pre_tokenizer") or {}
    for each in step.get("pretokenizers") or [step]:
        if each.get("type") == "ByteLevel":
            each["add_prefix_space"] = True
        if each.get("type") == "Metaspace":
            each["prepend_scheme"] = "always"
    return type(backend).from_str(json.dumps(content))


def _limit(loaded: Any, name: str) -> int | None:
    """The most tokens that the models of a tokenizer take, as it or the configuration beside it says."""
    limits = [loaded.model_max_length] if loaded.model_max_length < 10**9 else []
    config = read_json(name, "config.json")
    positions = config.get("max_position_embeddings") if isinstance(config, dict) else None
    if isinstance(positions, int) and positions > 0:
        offset = (loaded.pad_token_id or 0) + 1 if config.get("model_type") in _OFFSET_POSITIONS else 0
        limits.append(positions - offset)
    return min(limits, default=None)


def _pieces(blocks: Iterable[Sequence[Any]]) -> Iterator[list[Any]]:
    """The texts in lists of bounded size."""
    piece: list[Any] = []
    size = 0
    for block in blocks:
        for text in block:
            piece.append(text)
            size += len(text) if isinstance(text, str) else sum(map(len, text))
            if len(piece) == _TEXTS or size > _CHARACTERS:
                yield piece
                piece, size = [], 0
    if piece:
        yield piece


def _flat(lists: Sequence[Sequence[int]], dtype: Any) -> np.ndarray[Any, Any]:
    count = sum(map(len, lists))
    return np.fromiter(chain.from_iterable(lists), dtype=dtype, count=count)


def _labels(words: Sequence[int | None], tags: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The label of each token, int16: the tag of its word where it is the word's first, else -100."""
    of_word = np.array([-1 if word is None else word for word in words])
    is_first = (of_word >= 0) & (of_word != np.concatenate([[-1], of_word[:-1]]))
    return np.where(is_first, tags[np.maximum(of_word, 0)], IGNORED).astype(np.int16)
