"""Tiny tokenizers and text files for tests: no network, no weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

WORDS = ("good", "bad", "film", "a", "the", "is", "##s", "##ing", "jane", "paris", "lives", "in", "!", "not", "very")


def write_tokenizer(
    folder: Path, words: Sequence[str] = WORDS, pad: bool = True, types: bool = True, limit: int | None = 64
) -> Path:
    """A BERT-like tokenizer with such word pieces ([PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, then the words)."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = ["input_ids", *(["token_type_ids"] if types else []), "attention_mask"]
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        model_input_names=names,
        **({"pad_token": "[PAD]"} if pad else {}),
        **({} if limit is None else {"model_max_length": limit}),
    )
    fast.save_pretrained(folder)
    return folder


def write_jsonl(path: Path, rows: Sequence[dict | str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path
