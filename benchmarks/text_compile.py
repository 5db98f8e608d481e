"""What torch.compile gains on texts: ``python -m benchmarks.text_compile`` times a student's training step both ways.

The student has two layers of MiniLM's sizes; its batches are of 32 made-up texts of like length, padded to multiples of
8, as in a training. One copy is compiled with dynamic lengths (of any length one code), the other runs eagerly; both
learn by fused AdamW, in every round the same batches, in turn. Shown is the median of the rounds' ratios.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from statistics import median
from typing import Any

import torch

from benchmarks.text_task import BATCH, CLASSES, SIZES, STUDENT_LAYERS
from distill.models import bert_model
from distill.utils import precision

LENGTHS = (16, 24, 24, 32, 40, 56)  # of one round's batches, in tokens


def _batch(length: int, drawn: random.Random) -> dict[str, torch.Tensor]:
    """Ids of texts, each at most 7 tokens shorter than the batch is long."""
    ids = torch.randint(1000, SIZES["vocab_size"], (BATCH, length))
    lengths = torch.tensor([length - drawn.randrange(8) for _ in range(BATCH)])
    mask = (torch.arange(length) < lengths[:, None]).long()
    return {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}


def _step(model: torch.nn.Module, forward: Callable[..., Any], kind: str) -> Callable[[Any, Any], None]:
    """One training step: forward, cross-entropy, backward, AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)

    def step(inputs: Any, target: torch.Tensor) -> None:
        optimizer.zero_grad()
        with precision.context(kind, "cpu"):
            logits = forward(inputs)
        loss: Any = torch.nn.functional.cross_entropy(logits.float(), target)
        loss.backward()
        optimizer.step()

    return step


def _seconds(step: Callable[[Any, Any], None], batches: Sequence[Any]) -> float:
    start = time.perf_counter()
    for inputs, target in batches:
        step(inputs, target)
    return time.perf_counter() - start


def measured(rounds: int) -> dict[str, Any]:
    """Seconds of the first compiled round, and of every later one compiled and eager."""
    torch.manual_seed(0)
    drawn = random.Random(0)
    width, heads = SIZES["hidden_size"], SIZES["num_attention_heads"]
    model: torch.nn.Module = bert_model(STUDENT_LAYERS, width, heads, CLASSES, vocab_size=SIZES["vocab_size"])
    other, kind = deepcopy(model), precision.choose("auto", model, float("inf"))[0]
    sides = {
        "compiled": _step(other, torch.compile(other, dynamic=True), kind),
        "eager": _step(model, model, kind),
    }
    target = torch.arange(BATCH) % CLASSES
    seen: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds + 1):
        batches = [(_batch(length, drawn), target) for length in LENGTHS]
        for name, step in sides.items():
            seen[name].append(_seconds(step, batches))
    first = seen["compiled"][0]
    return {"precision": kind, "first": first, **{name: values[1:] for name, values in seen.items()}}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.text_compile", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    found = measured(given.rounds)
    ratios = sorted(eager / compiled for eager, compiled in zip(found["eager"], found["compiled"], strict=True))
    steps = len(LENGTHS)
    print(
        f"torch {torch.__version__}, {given.threads} threads, {found['precision']}, medians of {given.rounds} rounds: "
        f"a step takes {1e3 * median(found['eager']) / steps:.0f} ms eagerly and "
        f"{1e3 * median(found['compiled']) / steps:.0f} ms compiled; "
        f"the compiled step is {median(ratios):.2f} times as fast ({ratios[0]:.2f} to {ratios[-1]:.2f}); "
        f"compiling took {found['first'] - median(found['compiled']):.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
