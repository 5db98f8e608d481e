"""A tiny Llama with its tokenizer, and texts for it: what a language model's job needs, without network."""

import json
import random
from pathlib import Path

import torch

WORDS = ("the", "a", "cat", "dog", "sat", "ran", "on", "under", "mat", "tree", "fast", "slow", "user", "assistant", ":")
TEMPLATE = "{% for m in messages %}{{ m.role }} : {{ m.content }} </s>{% endfor %}{% if add_generation_prompt %}assistant : {% endif %}"  # fmt: skip  # noqa: E501


def save_tokenizer(folder: Path, words: tuple[str, ...] = WORDS, template: str | None = TEMPLATE) -> Path:
    """Words between blanks; <pad> 0, <unk> 1, </s> 2, then the words; no token is added to a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate(["<pad>", "<unk>", "</s>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")
    if template:
        fast.chat_template = template
    fast.save_pretrained(folder)
    return folder


def save_llama(folder: Path, layers: int = 4, seed: int = 0, words: tuple[str, ...] = WORDS, **settings) -> Path:
    """A Llama of random weights with its tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    save_tokenizer(folder, words)
    torch.manual_seed(seed)
    config = LlamaConfig(**{
        "vocab_size": len(words) + 3, "hidden_size": 32, "num_hidden_layers": layers, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 64, "max_position_embeddings": 256,
        "tie_word_embeddings": True, "bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0,
        "initializer_range": 0.3, **settings,
    })  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def documents(n: int, seed: int = 0) -> list[str]:
    """Texts of 5 to 13 words."""
    draw = random.Random(seed)
    made = []
    for _ in range(n):
        words = ["the", draw.choice(("cat", "dog"))]
        for _ in range(draw.randint(1, 3)):
            words += [draw.choice(("sat", "ran")), draw.choice(("on", "under")), draw.choice(("mat", "tree"))]
        made.append(" ".join(words + [draw.choice(("fast", "slow"))] * draw.randint(0, 2)))
    return made


def write_documents(path: Path, n: int = 200) -> Path:
    """A jsonl file with them."""
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents(n)))
    return path
