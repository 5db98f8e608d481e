"""The tokenizer of a run, for transformers alone: as the run used it."""

from pathlib import Path
from typing import Any

import torch

from distill.data import TextDataModule
from distill.utils.errors import UserError
from distill.utils.hub import quiet, read_tokenizer

CHECKED = 64  # test texts that are tokenised with what was written


def save_tokenizer(data: TextDataModule, folder: Path, names: tuple[str, ...]) -> None:
    """Writes tokenizer.json and tokenizer_config.json, and checks that they give the ids of the run.

    ``truncation=True`` cuts where the run did, and what the tokenizer returns is what the model takes.

    Args:
        data: of the run.
        folder: to write to.
        names: of the model's inputs.

    Raises:
        UserError: transformers makes other ids of some test text.
    """
    preprocess = data.preprocess
    words: dict[str, Any] = {"add_prefix_space": True} if preprocess.words else {}
    tokenizer = read_tokenizer(preprocess.tokenizer, "data.tokenizer", **words)
    facts = {"model_max_length": preprocess.max_length, "model_input_names": list(names)}
    for key, value in facts.items():
        setattr(tokenizer, key, value)
    tokenizer.init_kwargs.update(facts)
    for key in ("name_or_path", "is_local", "local_files_only"):  # where it was read from
        tokenizer.init_kwargs.pop(key, None)
    with quiet():
        tokenizer.save_pretrained(folder)
    again = read_tokenizer(str(folder), "the exported tokenizer")
    split: Any = data.loaded.splits["test"]
    if preprocess.causal:
        _check_documents(data, split, again)
        return
    rows = split.rows[:CHECKED]
    texts = next(split.dataset.blocks(rows))
    pairs = [list(part) for part in zip(*texts, strict=True)] if preprocess.pairs else [list(texts)]
    found = again(*pairs, truncation=True, padding=True, is_split_into_words=preprocess.words, return_tensors="pt")
    ids = data.dataset("test", train=False)[0, torch.arange(len(rows))].inputs["input_ids"]
    ids, more = ids.split([found["input_ids"].shape[1], ids.shape[1] - found["input_ids"].shape[1]], dim=1)
    if not torch.equal(found["input_ids"], ids) or bool((more != again.pad_token_id).any()):
        raise _other_tokens(preprocess.tokenizer)


def _check_documents(data: TextDataModule, split: Any, again: Any) -> None:
    """A UserError unless a tokenizer gives the ids of the run for the first documents of a split."""
    texts = list(next(split.dataset.blocks(split.documents[:CHECKED])))
    own = data.loaded.student.tokenizer
    ids = own.encode([texts]).ids.tolist()
    if [i for each in again(texts)["input_ids"] for i in each] != ids:
        raise _other_tokens(own.name)


def _other_tokens(name: str) -> UserError:
    return UserError(f"the tokenizer {name} gives other tokens in transformers than in the run: it cannot be exported")
