"""How a teacher's logits are stored.

A codec encodes logits (N, C) as named tensors of N rows each, decodes those to float32 (N, C), and knows the ``bytes``
that one sample takes. Its ``repr`` is part of a cache's key.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

LARGEST = 65504.0  # of float16


def half(x: Tensor) -> Tensor:
    """float16, clamped to its finite range."""
    return x.float().clamp(-LARGEST, LARGEST).half()


@dataclass(frozen=True)
class Exact:
    """All C logits as float32; for splits whose views never change."""

    classes: int

    def encode(self, logits: Tensor) -> dict[str, Tensor]:
        return {"logits": logits.float()}

    def decode(self, rows: Mapping[str, Tensor]) -> Tensor:
        return rows["logits"].float()

    @property
    def bytes(self) -> int:
        return 4 * self.classes


@dataclass(frozen=True)
class Half(Exact):
    """All C logits as float16: a relative error of at most 2⁻¹¹."""

    def encode(self, logits: Tensor) -> dict[str, Tensor]:
        return {"logits": half(logits)}

    @property
    def bytes(self) -> int:
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
        logits = logits.float().clamp(-LARGEST, LARGEST)
        values, classes = logits.topk(self.k, dim=1)
        others = logits.scatter(1, classes, float("-inf")).logsumexp(1, keepdim=True)
        return {"values": values.half(), "classes": classes.to(self._index_dtype), "others": others}

    def decode(self, rows: Mapping[str, Tensor]) -> Tensor:
        fill = rows["others"] - math.log(self.classes - self.k)
        logits = fill.expand(-1, self.classes).clone()
        return logits.scatter_(1, rows["classes"].long(), rows["values"].float())

    @property
    def _index_dtype(self) -> torch.dtype:
        return torch.int16 if self.classes <= 2**15 else torch.int32

    @property
    def bytes(self) -> int:
        return self.k * (2 + self._index_dtype.itemsize) + 4


Codec = Exact | TopK
