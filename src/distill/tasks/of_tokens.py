"""Tasks with a target for some tokens of a text: words that have a class, tokens that have a next one."""

import torch.nn.functional as F
from torch import Tensor

from distill.data.targets import IGNORED
from distill.losses.checks import upcast
from distill.tasks.base import Task


class OfTokens(Task):
    """Means and rows are those of the tokens that have a target."""

    dims = 3

    def supervised_loss(self, output: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Cross-entropy in nats, in float32, the mean over the tokens with a target; 0 of a batch without any.

        Args:
            output: logits (N, L, C).
            target: class numbers, int64 (N, L); −100 where there is none.
            label_smoothing: in [0, 1).
        """
        tokens = (target != IGNORED).sum().clamp(min=1)
        logits, flat = upcast(output).flatten(0, 1), target.flatten()
        return F.cross_entropy(logits, flat, label_smoothing=label_smoothing, reduction="sum") / tokens

    def weight(self, target: Tensor) -> int:
        """The number of tokens with a target."""
        return int((target != IGNORED).sum())

    def rows(self, output: Tensor, target: Tensor | None = None) -> Tensor:
        """Outputs (M, ·) of the tokens with a target; without one, of all positions."""
        return output.flatten(0, 1) if target is None else output[target != IGNORED]

    def row_targets(self, target: Tensor) -> Tensor:
        """The target of each of these tokens, int64 (M,)."""
        return target[target != IGNORED]
