"""Texts as a finished run's model takes them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from distill.data.text.tokenize import TextTokenizer, load_tokenizer

Text = str | tuple[str, str] | Sequence[str]


@dataclass(frozen=True)
class TextPreprocess:
    """Tokenises texts; the tokenizer is loaded at the first call, and not pickled.

    Args:
        tokenizer: folder or name on the hub.
        max_length: tokens at which a text is cut.
        pairs: the texts are pairs.
        words: they are lists of words.
    """

    kind: ClassVar[str] = "text"
    tokenizer: str
    max_length: int
    pairs: bool = False
    words: bool = False

    def batch(self, texts: Sequence[Text]) -> dict[str, Tensor]:
        """See :meth:`__call__`."""
        return self(texts)

    def model_arguments(self, output: str) -> dict[str, Any]:
        """What a model's constructor is told of the data but for the classes' names."""
        return {"output": output}

    def example(self, n: int = 1) -> dict[str, Tensor]:
        """Tokens of the right shape, int64 (n, 8); always the same."""
        ids = torch.arange(8 * n).reshape(n, 8) % 8
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def __call__(self, texts: Sequence[Text]) -> dict[str, Tensor]:
        """The inputs of a batch.

        Args:
            texts: B texts, pairs of texts, or lists of words.

        Returns:
            ``input_ids``, ``attention_mask`` and, where the tokenizer gives them, ``token_type_ids``, int64 (B, L).

        Raises:
            UserError: the tokenizer cannot be loaded.
        """
        tokenizer = self.loaded
        kinds = {"pairs": tuple, "words": list}
        kind = next((kinds[name] for name in kinds if getattr(self, name)), str)
        encoded = tokenizer.encode([[kind(text) for text in texts]], self.words, max_length=self.max_length)
        return encoded.batch(torch.arange(len(texts)), tokenizer.pad_id, tokenizer.with_types, self.max_length)

    def first_tokens(self, sentences: Sequence[Sequence[str]]) -> Tensor:
        """Where in ``__call__``'s result each word begins, int64 (B, W); -1 of a word that was cut, or of none."""
        return self.loaded.first_tokens(sentences, self.max_length)

    def as_dict(self) -> dict[str, Any]:
        """For the record of a run; ``from_dict`` reads it."""
        return {"kind": "text", **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TextPreprocess":
        """From what ``as_dict`` gave."""
        return cls(**{name: value for name, value in values.items() if name != "kind"})

    @property
    def loaded(self) -> TextTokenizer:
        """The tokenizer."""
        if "_loaded" not in self.__dict__:
            self.__dict__["_loaded"] = load_tokenizer(self.tokenizer, words=self.words)
        loaded: TextTokenizer = self.__dict__["_loaded"]
        return loaded

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_loaded"}
