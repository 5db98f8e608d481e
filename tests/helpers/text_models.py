"""Tiny text models and tokenizers of transformers, saved as the hub has them."""

import json
from pathlib import Path
from typing import Any

import torch

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS += ["the", "a", "cat", "dog", "sat", "ran", "on", "under", "mat", "tree", "fast", "slow"]
SIZES: dict[str, dict[str, Any]] = {
    "bert": {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64},
    "roberta": {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64},
    "electra": {
        "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64,
        "embedding_size": 16,
    },
    "distilbert": {"dim": 32, "n_layers": 4, "n_heads": 4, "hidden_dim": 64},
    "mpnet": {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64},
    "deberta-v2": {
        "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64,
        "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False,
    },
    "modernbert": {
        "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64,
        "global_attn_every_n_layers": 2, "local_attention": 8,
        "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3,
    },
    "albert": {
        "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64,
        "embedding_size": 16, "bos_token_id": 2, "eos_token_id": 3,
    },
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 2, "eos_token_id": 3},
    "t5": {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_kv": 8, "d_ff": 64},
}  # fmt: skip


def tiny_config(kind: str = "bert", **settings: Any) -> Any:
    """A configuration of an architecture, with few and narrow layers."""
    from transformers import AutoConfig

    pad = {} if kind == "gpt2" else {"pad_token_id": 0}
    return AutoConfig.for_model(kind, **{**SIZES[kind], "vocab_size": len(WORDS) + 3, **pad, **settings})


def save_model(folder: Path, kind: str = "bert", head: str = "", seed: int = 0, **settings: Any) -> Path:
    """Saves a tiny model: the bare encoder, or with ``head`` ("SequenceClassification", "TokenClassification", ...)."""
    import transformers

    torch.manual_seed(seed)
    auto = getattr(transformers, f"AutoModelFor{head}") if head else transformers.AutoModel
    model = auto.from_config(tiny_config(kind, **settings))
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:  # as trained: none is zero or one
            torch.nn.init.normal_(parameter, mean=float(name.endswith("weight")), std=0.1)
        else:
            torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    return folder


def save_tokenizer(folder: Path, words: list[str] = WORDS) -> Path:
    """Saves a BERT tokenizer of whole words."""
    folder.mkdir(parents=True, exist_ok=True)
    from transformers import BertTokenizer

    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(words) + "\n")
    BertTokenizer(vocab=str(vocabulary)).save_pretrained(folder)
    return folder


def save_pooling(folder: Path, mode: str = "mean_tokens", normalize: bool = False, more: str = "") -> None:
    """Writes what sentence-transformers keeps beside a model."""
    kinds = ["Transformer", "Pooling", *([more] if more else []), *(["Normalize"] if normalize else [])]
    rows = [
        {
            "idx": i,
            "name": str(i),
            "path": "" if i == 0 else f"{i}_{kind}",
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(rows))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps(
            {
                "word_embedding_dimension": 32,
                f"pooling_mode_{mode}": True,
                "pooling_mode_max_tokens": mode == "max_tokens",
            }
        )
    )


def batch(lengths: tuple[int, ...] = (5, 3, 8), seed: int = 0) -> dict[str, torch.Tensor]:
    """Token ids of texts of some lengths, padded to the longest, with the attention mask."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, len(WORDS), (len(lengths), max(lengths)), generator=generator)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    ids[:, 0] = 2
    return {"input_ids": ids * mask, "attention_mask": mask}


def padded(inputs: dict[str, torch.Tensor], by: int = 7) -> dict[str, torch.Tensor]:
    """The same batch with more padding."""
    return {key: torch.nn.functional.pad(value, (0, by)) for key, value in inputs.items()}
