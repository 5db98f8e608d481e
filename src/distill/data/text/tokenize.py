"""Tokenisers of the Hugging Face hub, and texts as their tokens."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distill.data.text.encoded import IGNORED, Encoded, offsets_of
from distill.utils.errors import UserError, first_line, require_package
from distill.utils.files import printable

_CHARACTERS, _TEXTS = 500_000, 1024  # that are tokenised at a time: what a tokenizer returns takes 100 bytes per token
_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model")
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
    """

    name: str
    backend: Any
    pad_id: int
    with_types: bool
    limit: int | None
    side: str

    @property
    def content(self) -> str:
        """Hex digest of what turns texts into ids: the same of two copies of one tokenizer."""
        parts = [self.backend.to_str(), str(self.pad_id), self.side]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

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
        ids, types, labels, lengths = [], [], [], []
        encode = self.backend.encode_batch_fast if tags is None else self.backend.encode_batch  # fast: without word_ids
        for texts in _pieces(blocks):
            encodings = encode(texts, is_pretokenized=words)
            ids.append(_flat([each.ids for each in encodings], np.int32))
            types.append(_flat([each.type_ids for each in encodings], np.uint8) if self.with_types else None)
            lengths.append(np.array([len(each.ids) for each in encodings], dtype=np.int64))
            if tags is not None:
                labels += [_labels(each.word_ids, next(tags)) for each in encodings]
        self.backend.no_truncation()
        has_types = any(each is not None and each.any() for each in types)
        return Encoded(
            torch.from_numpy(np.concatenate(ids)),
            offsets_of(np.concatenate(lengths)),
            torch.from_numpy(np.concatenate([each for each in types if each is not None])) if has_types else None,
            torch.from_numpy(np.concatenate(labels)) if tags is not None else None,
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


def load_tokenizer(name: str | Path, key: str = "data.tokenizer", words: bool = False) -> TextTokenizer:
    """The fast tokenizer of a folder, or of a model on the Hugging Face hub.

    Args:
        name: folder or name; code that comes with a model is never run.
        key: the option that names it, for errors.
        words: it will see words instead of texts.

    Raises:
        UserError: transformers is missing, there is no tokenizer, none without Python code or a slow one, or it has no
            padding token.
    """
    require_package("transformers", "data=text", "transformers", "text")
    folder = Path(name)
    if folder.is_dir() and not any((folder / file).is_file() for file in _FILES):
        raise UserError(f"{key}={printable(name)} holds no tokenizer: none of {', '.join(_FILES)}")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # else a loader's workers warn that they were forked
    loaded = _load(str(name), key, {})
    if not loaded.is_fast:
        raise UserError(f"{key}={printable(name)}: this tokenizer has no fast version (tokenizer.json)")
    if words and "ByteLevel" in str(json.loads(loaded.backend_tokenizer.to_str()).get("pre_tokenizer")):
        loaded = _load(str(name), key, {"add_prefix_space": True})  # a word is one that a blank precedes
    if loaded.pad_token_id is None:
        raise UserError(
            f"{key}={printable(name)}: this tokenizer has no padding token, which texts of several lengths need: name "
            'one of its tokens as "pad_token" in its tokenizer_config.json'
        )
    backend = loaded.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    with_types = "token_type_ids" in loaded.model_input_names
    side = loaded.truncation_side
    return TextTokenizer(str(name), backend, int(loaded.pad_token_id), with_types, _limit(loaded, folder), side)


def _load(name: str, key: str, options: dict[str, Any]) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, use_fast=True, trust_remote_code=False, **options)
    except ImportError as error:
        raise UserError(f"{key}={name} needs another package: {first_line(error)}") from error
    except Exception as error:  # transformers raises OSError, ValueError and others, for one reason: it is not there
        where = "cannot be read" if Path(name).is_dir() else "is no folder, and cannot be had from the Hugging Face hub"
        raise UserError(f"{key}={printable(name)} {where}: {first_line(error)}") from error


def _limit(loaded: Any, folder: Path) -> int | None:
    """The most tokens that the models of a tokenizer take, as it or the configuration beside it says."""
    limits = [loaded.model_max_length] if loaded.model_max_length < 10**9 else []
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        config = {}
    positions = config.get("max_position_embeddings") if isinstance(config, dict) else None
    if isinstance(positions, int) and positions > 0:
        offset = loaded.pad_token_id + 1 if config.get("model_type") in _OFFSET_POSITIONS else 0
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
    return np.fromiter((each for values in lists for each in values), dtype=dtype, count=count)


def _labels(words: Sequence[int | None], tags: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The label of each token, int16: the tag of its word where it is the word's first, else -100."""
    of_word = np.array([-1 if word is None else word for word in words])
    is_first = (of_word >= 0) & (of_word != np.concatenate([[-1], of_word[:-1]]))
    return np.where(is_first, tags[np.maximum(of_word, 0)], IGNORED).astype(np.int16)
