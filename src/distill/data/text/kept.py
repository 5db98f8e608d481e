"""A run's own copy of its tokenizer, with which it is opened where the original is gone."""

import logging
from contextlib import suppress
from pathlib import Path

from distill.data.text.tokenize import TextTokenizer, load_tokenizer
from distill.utils.atomic import atomic_folder

log = logging.getLogger(__name__)

TOKENIZER = "tokenizer"  # folders of a run
TEACHER_TOKENIZER = "teacher_tokenizer"


class _OtherTokensError(Exception): ...


def keep_tokenizer(tokenizer: TextTokenizer, folder: Path, words: bool, causal: bool = False) -> None:
    """Writes a tokenizer's files, whole or not at all; not one that would read texts in another way than the original.

    Args:
        tokenizer: of :func:`load_tokenizer`.
        folder: is replaced.
        words: it reads words.
        causal: it is a language model's.

    Raises:
        WriteError: the folder.
    """
    with suppress(_OtherTokensError), atomic_folder(folder) as temporary:
        tokenizer.whole.save_pretrained(temporary)
        copy = load_tokenizer(str(temporary), words=words, causal=causal)
        if (copy.content, copy.with_types) != (tokenizer.content, tokenizer.with_types):
            log.warning(f"the tokenizer {tokenizer.name} is not the same when it is saved: the run needs the original")
            raise _OtherTokensError
