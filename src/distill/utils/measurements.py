"""What a model costs. Plain records, so that a summary is read without torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Parameters (number), multiply-accumulates (of convolutions and matrix products, one sample), bytes on disk."""

    parameters: int
    macs: int
    bytes: int


@dataclass(frozen=True)
class Speed:
    """Median latency at batch 1 in ms, throughput at the given batch in samples per second."""

    latency_ms: float
    throughput: float
    batch: int
