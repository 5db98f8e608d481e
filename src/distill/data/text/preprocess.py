"""Texts as a finished run's model takes them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from distill.data.text.encoded import Encoded
from distill.data.text.problems import ENCODING_ADVICE, problem
from distill.data.text.tokenize import TextTokenizer, load_tokenizer
from distill.utils.errors import UserError

Text = str | tuple[str, str] | Sequence[str]


@dataclass(frozen=True)
class TextPreprocess:
    """Tokenises texts; the tokenizer is loaded at the first call, and not pickled.

    Args:
        tokenizer: folder or name on the hub.
        max_length: tokens at which a text is cut.
        pairs: the texts are pairs.
        words: they are lists of words.
        causal: they are continued by a language model.
    """

    kind: ClassVar[str] = "text"
    tokenizer: str
    max_length: int
    pairs: bool = False
    words: bool = False
    causal: bool = False

    def batch(self, texts: Sequence[Text]) -> dict[str, Tensor]:
        """See :meth:`__call__`."""
        return self(texts)

    def model_arguments(self, output: str) -> dict[str, Any]:
        """What a model's constructor is told of the data but for the classes' names."""
        return {"output": output}

    def example(self, n: int = 1) -> dict[str, Tensor]:
        """Tokens of the right shape, int64 (n, 8); always the same."""
        ids = torch.arange(8 * n).reshape(n, 8) % 8
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        return {**inputs, "position_ids": torch.arange(8).expand(n, 8)} if self.causal else inputs

    def __call__(self, texts: Sequence[Text]) -> dict[str, Tensor]:
        """The inputs of a batch.

        Args:
            texts: B texts, pairs of texts, or lists of words.

        Returns:
            ``input_ids``, ``attention_mask`` and, where the tokenizer gives them, ``token_type_ids``, int64 (B, L).

        Raises:
            UserError: the tokenizer cannot be loaded; something that is no text.
        """
        return self.padded(self.encode(self.checked(texts)), torch.arange(len(texts)))

    def encode(self, texts: Sequence[Any]) -> Encoded:
        """The tokens of texts as :meth:`checked` returns them."""
        return self.loaded.encode([texts], self.words, max_length=self.max_length)

    def padded(self, encoded: Encoded, at: Tensor) -> dict[str, Tensor]:
        """Some of the texts, int64 (B,), as inputs of a model; see :meth:`__call__`."""
        return encoded.batch(at, self.loaded.pad_id, self.loaded.with_types, self.max_length)

    def checked(self, texts: Sequence[Any]) -> list[Any]:
        """The texts as strings, tuples of two, or lists of words, into which a string is split at its blanks.

        Raises:
            UserError: something else, an empty text, or one that no tokenizer takes.
        """
        if isinstance(texts, str):
            raise UserError(f"a list of texts is needed, got the one text {texts[:40]!r}: put it in a list")
        made: list[Any] = []
        for number, text in enumerate(texts, 1):
            parts = text.split() if self.words and isinstance(text, str) else text
            parts = [parts] if isinstance(parts, str) else list(parts) if isinstance(parts, tuple | list) else []
            fits = len(parts) == 2 if self.pairs else bool(parts) and (self.words or isinstance(text, str))
            if not fits or not all(isinstance(part, str) and part.strip() for part in parts):
                what = "a pair of texts" if self.pairs else "a list of words" if self.words else "a text"
                shown = " ".join(str(text).split())[:60]
                raise UserError(f"text {number} must be {what}, none of them empty, got {shown!r}")
            wrong = next(filter(None, map(problem, parts)), None)
            if wrong is not None:
                raise UserError(f"text {number}: {wrong.replace(ENCODING_ADVICE, '')}")
            made.append(tuple(parts) if self.pairs else parts if self.words else parts[0])
        return made

    def first_tokens(self, sentences: Sequence[Sequence[str]]) -> Tensor:
        """Where in ``__call__``'s result each word begins, int64 (B, W); -1 of a word that was cut, or of none."""
        return self.loaded.first_tokens(sentences, self.max_length)

    def as_dict(self) -> dict[str, Any]:
        """For the record of a run; ``from_dict`` reads it."""
        values = {"kind": "text", **asdict(self)}
        return {name: value for name, value in values.items() if name != "causal" or value}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TextPreprocess":
        """From what ``as_dict`` gave."""
        return cls(**{name: value for name, value in values.items() if name != "kind"})

    @property
    def loaded(self) -> TextTokenizer:
        """The tokenizer."""
        if "_loaded" not in self.__dict__:
            self.__dict__["_loaded"] = load_tokenizer(self.tokenizer, words=self.words, causal=self.causal)
        loaded: TextTokenizer = self.__dict__["_loaded"]
        return loaded

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_loaded"}
