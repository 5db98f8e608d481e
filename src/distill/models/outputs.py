"""What a model returns for one batch."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Outputs(NamedTuple):
    """What a model returned for a batch.

    Attributes:
        logits: (N, C); of tokens (N, L, C), of maps (N, C, H, W) at the model's own stride.
        features: hidden features by module path.
        embedding: (N, D), what the classifier reads; None where no term reads it.
        sized: the logits at the size of the targets (``Task.sized``); None: they are that already.
    """

    logits: Tensor
    features: dict[str, Tensor]
    embedding: Tensor | None
    sized: Tensor | None = None

    @property
    def at_target(self) -> Tensor:
        """The logits at the size of the targets."""
        return self.logits if self.sized is None else self.sized

    def tensors(self) -> list[Tensor]:
        """Logits, features and embedding as a flat list."""
        return [self.logits, *self.features.values(), *([] if self.embedding is None else [self.embedding])]

    def map(self, function: Callable[[Tensor], Tensor]) -> "Outputs":
        """Apply a function to every tensor."""
        features = {key: function(value) for key, value in self.features.items()}
        return Outputs(function(self.logits), features, None if self.embedding is None else function(self.embedding))
