"""The peer on texts: torchdistill drives models of transformers as its GLUE example does.

Its ``DistillationBox`` with its ``KDLoss`` on the logits, texts tokenised before, the collators of transformers, AdamW,
clipped gradients, float32. Texts are padded to a length of their own (``padded``) or to the longest of their batch.

    python -m benchmarks.text_peer '{"folder": "...", "padded": true, "turns": [5, 4]}'
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import RandomSampler, SequentialSampler
from torchdistill.core.distillation import DistillationBox
from torchdistill.datasets.registry import register_collate_func
from torchdistill.misc.log import MetricLogger, SmoothedValue
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    default_data_collator,
)  # fmt: skip

from benchmarks import peer_config, text_task as task
from benchmarks.player import Player


def samples(folder: Path, split: str, tokenizer: Any, labels: dict[str, int], padded: bool) -> list[dict[str, Any]]:
    """Tokenised texts with labels."""
    lines = (folder / "texts" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    texts, padding = [row["text"] for row in rows], "max_length" if padded else False
    encoded = tokenizer(texts, padding=padding, max_length=task.LENGTH, truncation=True)
    return [
        {key: encoded[key][i] for key in encoded} | {"labels": labels[row["label"]]} for i, row in enumerate(rows)
    ]  # fmt: skip


def box(folder: Path, padded: bool, device: torch.device) -> Any:
    """Its training box from its configuration, as its YAML files write it."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "student")
    teacher = AutoModelForSequenceClassification.from_pretrained(folder / "teacher")
    student = AutoModelForSequenceClassification.from_pretrained(folder / "student")
    labels = student.config.label2id
    data = {split: samples(folder, split, tokenizer, labels, padded) for split in task.SPLITS}
    register_collate_func(default_data_collator if padded else DataCollatorWithPadding(tokenizer), key="collate")
    batches: dict[str, Any] = {"collate": "collate", "batch_size": task.BATCH, "num_workers": 0}
    config = {
        "num_epochs": 1000,
        "train_data_loader": peer_config.loader("train", RandomSampler, **batches),
        "val_data_loader": peer_config.loader("val", SequentialSampler, **batches),
        **peer_config.models("forward_batch_only_as_kwargs", "classifier"),
        "optimizer": {"key": "AdamW", "kwargs": {"lr": task.LR, "weight_decay": 0.0}, "max_grad_norm": task.CLIP},
        "scheduler": {
            "key": "LinearLR",
            "kwargs": {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 100_000},
            "scheduling_step": 1,
        },
        "criterion": peer_config.criterion("classifier", task.T, task.ALPHA),
    }
    made = DistillationBox(teacher.to(device), student.to(device), data, config, device, None, False, 1)
    made.teacher_model.eval()
    return made


def main(argument: str) -> None:
    """Trains epoch after epoch, as its example's loop does, until it is stopped.

    Args:
        argument: JSON with ``folder``, ``padded`` and ``turns`` ([fd, warm-up steps]).
    """
    given = json.loads(argument)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    made = box(Path(given["folder"]), given["padded"], device)
    fd, warm_up = given["turns"]
    player = Player(fd, warm_up, torch.cuda.synchronize if torch.cuda.is_available() else None)
    for epoch in range(1000):
        meters = MetricLogger(delimiter="  ")
        meters.add_meter("lr", SmoothedValue(window_size=1, fmt="{value}"))
        made.pre_epoch_process(epoch=epoch)
        for batch in meters.log_every(made.train_data_loader, 500, f"epoch {epoch}"):
            batch = {key: value.to(device) for key, value in batch.items()}
            loss = made.forward_process(batch, targets=batch["labels"])
            made.post_forward_process(loss)
            meters.update(loss=loss.item(), lr=made.optimizer.param_groups[0]["lr"])
            player.step()
        made.post_epoch_process()


if __name__ == "__main__":
    main(sys.argv[1])
