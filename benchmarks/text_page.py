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
    """Texts per second and memory of every side; nothing where they were not measured."""
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
