"""What a dataloader yields."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """One batch, seen by teacher and student alike.

    Attributes:
        inputs: whatever the model takes; for images a float32 tensor (B, C, H, W), normalised.
        target: class numbers, int64 (B,); where mixup or CutMix mixes samples, class shares, float32 (B, C).
        index: each sample's position in its source split, int64 (B,); the same in every run.
    """

    inputs: Tensor
    target: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody needs
