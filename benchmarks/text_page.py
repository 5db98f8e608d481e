"""The section of ``docs/benchmarks.md`` on texts."""

from collections.abc import Mapping
from typing import Any

from benchmarks.results import rates
from benchmarks.tables import spread, table

TITLES = {
    "peer": "torchdistill, padded to 128 tokens",
    "peer-batch": "torchdistill, padded to the longest of a batch",
    "live": "ours, live teacher",
    "cached": "ours, cached teacher",
    "alone": "ours, the student alone",
}


def section(groups: Mapping[str, Any]) -> str:
    """What was measured on texts."""
    return "\n".join(part for part in (_turns(groups), _many(groups)) if part)


def _many(groups: Mapping[str, Any]) -> str:
    if "many_texts" not in groups:
        return ""
    points = groups["many_texts"]["points"]
    rows = [
        [f"{p['texts']:,}", f"{p['file'] / 1e6:.0f}", f"{p['peak'] / 1e9:.2f}", f"{p['first_step_s']:.1f}"]
        for p in points
    ]
    header = ["training texts", "their file, MB", "memory, GB", "to the first step, s"]
    return "Many made-up texts, distilled as above; peak memory is the process's.\n\n" + table(header, rows)


def _turns(groups: Mapping[str, Any]) -> str:
    if "texts" not in groups:
        return ""
    g = groups["texts"]
    rows = [
        [TITLES[side], spread(rates(g, side), 0), f"{g['peak'][side]['process'] / 1e9:.2f} GB"] for side in g["turns"]
    ]
    said = (
        "### Texts\n\nA BERT of MiniLM's sizes (6 layers of 384, 12 heads, 22.7 M parameters) teaches two of its "
        f"layers, in batches of 32: {g['task']}, {g['lengths']['mean']:.1f} tokens on average, "
        f"{g['lengths']['longest']} at most. The peer drives the models of transformers as its GLUE example does: "
        "AdamW, clipped gradients, float32. Sequences of one length, 128, are what that example offers as "
        "`pad_to_max_length`; its sample configurations pad to the longest of a batch.\n\n"
    )
    return said + table(["side", "texts/s", "peak memory"], rows)
