"""The tokens of every split, and where its texts are cut."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from distill.data.splits import Split
from distill.data.text.dataset import TextSet
from distill.data.text.encoded import MULTIPLE, Encoded
from distill.data.text.tokenize import TextTokenizer
from distill.utils.errors import UserError
from distill.utils.files import printable

log = logging.getLogger(__name__)

MOST_UNKNOWN = 0.2  # share of tokens, above which a tokenizer is said not to know the texts
LONGEST = 512  # tokens, where max_length is left to the data


def encode_splits(
    splits: Mapping[str, Split[TextSet]],
    tokenizer: TextTokenizer,
    max_length: int | None,
    words: bool,
    which: str,
    whose: str = "",
) -> tuple[dict[str, Encoded], int, float]:
    """The tokens of each split, where they were cut, and the share of the training texts that was.

    Args:
        splits: by name; one that has the rows of another is tokenised with it.
        tokenizer: of one of the models.
        max_length: None: by the lengths of the training texts.
        words: the texts are lists of words.
        which: what a message calls the training texts.
        whose: tokens they are, likewise.

    Raises:
        UserError: a length that the tokenizer does not allow, or a text without a token.
    """
    _check_max_length(max_length, tokenizer)
    encoded: dict[str, Encoded] = {}
    for name, split in splits.items():
        twin = next((each for each in encoded if _are_same(splits[each], split)), None)
        if twin is not None and max_length is not None:
            encoded[name] = encoded[twin]
            continue
        encoded[name] = tokenizer.encode(_shown(split, name), words, _tags(split) if words else None, max_length)
        empty = (encoded[name].lengths == 0).nonzero().flatten()
        if len(empty):
            row = split.dataset.name(int(split.rows[empty[0]]))
            raise UserError(f"the tokenizer {tokenizer.name} makes no token of the text of {row}")
    if max_length is None:
        max_length = _max_length(encoded["train"].lengths, tokenizer)
        for name, split in splits.items():
            encoded[name] = _shortened(split, encoded[name], tokenizer, max_length, words)
    unknown = tokenizer.unknown(encoded["train"].ids)
    if unknown > MOST_UNKNOWN:
        name = printable(tokenizer.name)
        log.warning("%.3g %% of the tokens of the %s are unknown to the tokenizer %s", 100 * unknown, which, name)
    cut = encoded["train"].num_cut / len(encoded["train"])
    if cut:
        log.info("%smax_length=%d cuts %.3g %% of the %s", whose, max_length, 100 * cut, which)
    return encoded, max_length, cut


def _are_same(one: Split[TextSet], other: Split[TextSet]) -> bool:
    names = ("texts", "pairs", "tags")
    same = all(getattr(one.dataset, name) is getattr(other.dataset, name) for name in names)
    return same and torch.equal(one.rows, other.rows)


def _shortened(
    split: Split[TextSet], encoded: Encoded, tokenizer: TextTokenizer, max_length: int, words: bool
) -> Encoded:
    """The tokens of a split, of no text more than ``max_length``."""
    rows = (encoded.lengths > max_length).nonzero().flatten()
    if not len(rows):
        return encoded
    part = Split(split.dataset, split.rows[rows])
    blocks = part.dataset.blocks(part.rows)
    return encoded.with_shortened(rows, tokenizer.encode(blocks, words, _tags(part) if words else None, max_length))


def _check_max_length(chosen: int | None, tokenizer: TextTokenizer) -> None:
    if chosen is not None and tokenizer.limit is not None and chosen > tokenizer.limit:
        limit = f"the tokenizer {tokenizer.name} is for at most {tokenizer.limit} tokens"
        raise UserError(f"data.max_length={chosen}: {limit}")


def _max_length(lengths: Tensor, tokenizer: TextTokenizer) -> int:
    """The 99th percentile, rounded up and bounded."""
    percentile = int(lengths.sort().values[-(-99 * len(lengths) // 100) - 1])
    return min(-(-percentile // MULTIPLE) * MULTIPLE, LONGEST, tokenizer.limit or LONGEST)


def _shown(split: Split[TextSet], name: str) -> Iterator[list[Any]]:
    """The texts of a split, with a progress bar on a terminal where they take more than a moment."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    with tqdm(total=len(split.rows), desc=f"tokenising {name}", disable=None, delay=2, leave=False) as bar:
        for block in split.dataset.blocks(split.rows):
            yield block
            bar.update(len(block))


def _tags(split: Split[TextSet]) -> Iterator[Any]:
    """The tags of each sentence."""
    dataset = split.dataset
    assert dataset.tags is not None
    tags, first = dataset.tags.numpy(), dataset.first_words
    for row in split.rows.tolist():
        yield tags[int(first[row]) : int(first[row + 1])]
