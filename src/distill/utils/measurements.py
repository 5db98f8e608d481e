"""What a model costs, and on which machine. Plain records, so that a summary is read without torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Parameters (number), multiply-accumulates (of convolutions and matrix products, one sample), bytes on disk."""

    parameters: int
    macs: int
    bytes: int


@dataclass(frozen=True)
class Speed:
    """How fast a model answers.

    Attributes:
        latency_ms, latency_p95_ms, latency_p99_ms: the 50th, 95th and 99th percentile of a call at batch 1; the last
            two are None in files of earlier versions.
        throughput: samples per second at batch size ``batch``, from the median of its calls.
        dtype: in which it was measured ("float32", "bfloat16", "float16"); None in files of earlier versions.
        busy: whether the machine did something else meanwhile, see ``distill.utils.timing``.
    """

    latency_ms: float
    throughput: float
    batch: int
    latency_p95_ms: float | None = None
    latency_p99_ms: float | None = None
    dtype: str | None = None
    busy: bool = False

    @property
    def tail(self) -> str | None:
        """The 95th and 99th percentile as text; None where they are unknown."""
        if self.latency_p95_ms is None or self.latency_p99_ms is None:
            return None
        return f"{self.latency_p95_ms:.2f} / {self.latency_p99_ms:.2f} ms"

    @property
    def machine(self) -> str | None:
        """What the machine was while this was measured; None where that is unknown."""
        return None if self.dtype is None else "busy" if self.busy else "quiet"


@dataclass(frozen=True)
class Hardware:
    """The device and machine of a process; ``visible_devices``: CUDA_VISIBLE_DEVICES."""

    device: str
    cpu: str
    cores: int
    threads: int
    platform: str
    host: str
    pid: int
    visible_devices: str | None
