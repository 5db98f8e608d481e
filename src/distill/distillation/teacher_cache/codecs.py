"""How a teacher's logits are kept."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

LARGEST = 65504.0  # of float16


class Codec(Protocol):
    """Logits to rows of named tensors, and back."""

    def encode(self, logits: Tensor) -> dict[str, Tensor]:
        """(N, C) to what is kept, N rows each."""

    def decode(self, rows: Mapping[str, Tensor]) -> Tensor:
        """What was kept to float32 (N, C)."""

    @property
    def bytes(self) -> int:
        """Of one sample."""


def half(x: Tensor) -> Tensor:
    """float16, the finite range held."""
    return x.float().clamp(-LARGEST, LARGEST).half()


@dataclass(frozen=True)
class Exact:
    """All C logits as float32; for splits that are seen once."""

    classes: int

    def encode(self, logits: Tensor) -> dict[str, Tensor]:
        """(N, C) to what is kept."""
        return {"logits": logits.float()}

    def decode(self, rows: Mapping[str, Tensor]) -> Tensor:
        """What was kept to float32 (N, C)."""
        return rows["logits"]

    @property
    def bytes(self) -> int:
        """Of one sample."""
        return 4 * self.classes


@dataclass(frozen=True)
class Half:
    """All C logits as float16: a relative error of at most 2⁻¹¹."""

    classes: int

    def encode(self, logits: Tensor) -> dict[str, Tensor]:
        """(N, C) to what is kept."""
        return {"logits": half(logits)}

    def decode(self, rows: Mapping[str, Tensor]) -> Tensor:
        """What was kept to float32 (N, C)."""
        return rows["logits"].float()

    @property
    def bytes(self) -> int:
        """Of one sample."""
        return 2 * self.classes


@dataclass(frozen=True)
class TopK:
    """The k largest logits as float16, and log Σ exp of all others, which share it evenly when read.

    Softmax at T = 1 is right for the k classes and for the sum of the others; at higher T the others' part is that
    of equal logits.

    Args:
        classes: C.
        k: 1 ≤ k < C.

    Example:
        >>> codec = TopK(classes=4, k=1)
        >>> z = torch.tensor([[2.0, 0.0, 0.0, 0.0]])
        >>> torch.allclose(codec.decode(codec.encode(z)), z)
        True
    """

    classes: int
    k: int

    def encode(self, logits: Tensor) -> dict[str, Tensor]:
        """(N, C) to what is kept."""
        logits = logits.float().clamp(-LARGEST, LARGEST)
        values, chosen = logits.topk(self.k, dim=1)
        others = logits.scatter(1, chosen, float("-inf")).logsumexp(1, keepdim=True)
        return {"values": values.half(), "classes": chosen.to(self._kind), "others": others}

    def decode(self, rows: Mapping[str, Tensor]) -> Tensor:
        """What was kept to float32 (N, C)."""
        fill = rows["others"] - math.log(self.classes - self.k)
        full = fill.expand(-1, self.classes).clone()
        return full.scatter_(1, rows["classes"].long(), rows["values"].float())

    @property
    def _kind(self) -> torch.dtype:
        return torch.int16 if self.classes <= 2**15 else torch.int32

    @property
    def bytes(self) -> int:
        """Of one sample."""
        return self.k * (2 + self._kind.itemsize) + 4
