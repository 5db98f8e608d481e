"""What the sides on texts learn: the same texts, the same frozen teacher, the same student.

The teacher has the sizes of MiniLM (6 layers of 384, 12 heads), the student two of its layers, both the vocabulary of
BERT. Nothing heavy is imported here: the peer's process has no more in memory than the peer needs.
"""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BATCH, LENGTH, CLASSES = 32, 128, 4  # as in the peer's GLUE recipes; classes of made-up texts
T, ALPHA, LR, CLIP = 4.0, 0.1, 1e-4, 1.0
SIZES = {"hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536, "vocab_size": 30_522}
LAYERS, STUDENT_LAYERS = 6, 2
SPLITS = ("train", "val", "test")
SAMPLE = 20_000  # training texts from which word pieces are learnt, and whose lengths are taken


def made_up(n: int, seed: int = 0) -> list[dict[str, str]]:
    """Texts of made-up words, as long as English sentences are: log-normal, a median of 17 words."""
    drawn = random.Random(seed)
    lengths = [min(90, max(3, round(drawn.lognormvariate(2.83, 0.55)))) for _ in range(n)]
    return [
        {"text": " ".join(_word(drawn.randrange(20_000)) for _ in range(k)), "label": f"class {i % CLASSES}"}
        for i, k in enumerate(lengths)
    ]


def _word(i: int) -> str:
    """The i-th made-up word."""
    letters = ""
    for _ in range(4):
        i, letter = divmod(i, 20)
        letters += "bcdfghjklmnpqrstvwxz"[letter]
    return letters


def read(file: Path, n: int) -> list[dict[str, str]]:
    """``n`` texts with labels of a jsonl file, at random but always the same.

    Raises:
        ValueError: it has fewer.
    """
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [{"text": row["text"], "label": str(row["label"])} for row in random.Random(0).sample(rows, n)]


def prepare(folder: Path, rows: Sequence[dict[str, str]], train: int) -> dict[str, Any]:
    """Write texts, tokenizer, teacher and the peer's student; they are not trained, which changes no time.

    Args:
        folder: gets ``texts/{train,val,test}.jsonl``, ``teacher/`` and ``student/`` of transformers, and
            ``teacher.safetensors`` for ``teacher.checkpoint``.
        rows: texts and labels.
        train: how many of them are for training; the others are validated and tested on, half each.

    Returns:
        The mean and the longest length of the training texts in tokens, special ones included, cut to ``LENGTH``.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import BertConfig, BertForSequenceClassification

    half = train + (len(rows) - train) // 2
    (folder / "texts").mkdir(parents=True)
    for split, part in zip(SPLITS, (rows[:train], rows[train:half], rows[half:]), strict=True):
        lines = "".join(json.dumps(row) + "\n" for row in part)
        (folder / "texts" / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    labels = sorted({row["label"] for row in rows})
    names = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    sample = [row["text"] for row in rows[:train][:SAMPLE]]
    tokenizer = _tokenizer(sample)
    for name, layers in (("teacher", LAYERS), ("student", STUDENT_LAYERS)):
        torch.manual_seed(0)
        model = BertForSequenceClassification(BertConfig(num_hidden_layers=layers, **SIZES, **names))
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
        if name == "teacher":
            state = {f"model.{key}": value.contiguous() for key, value in model.state_dict().items()}
            save_file(state, folder / "teacher.safetensors")
    encoded = tokenizer(sample, truncation=True, max_length=LENGTH)
    lengths = [len(ids) for ids in encoded["input_ids"]]
    return {"mean": sum(lengths) / len(lengths), "longest": max(lengths)}


def _tokenizer(texts: Sequence[str]) -> Any:
    """A BERT tokenizer with word pieces learnt from the texts."""
    import tempfile

    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizer

    learnt = BertWordPieceTokenizer()
    learnt.train_from_iterator(texts, vocab_size=SIZES["vocab_size"], show_progress=False)
    with tempfile.TemporaryDirectory() as folder:
        learnt.save_model(folder)
        return BertTokenizer(vocab=f"{folder}/vocab.txt", model_max_length=512)
