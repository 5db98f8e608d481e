"""What a model returns for one batch."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Outputs(NamedTuple):
    """Logits (N, C), hidden features by module path, and the embedding (N, D) that the classifier reads, or None."""

    logits: Tensor
    features: dict[str, Tensor]
    embedding: Tensor | None

    def tensors(self) -> list[Tensor]:
        """Logits, features and embedding as a flat list."""
        return [self.logits, *self.features.values(), *([] if self.embedding is None else [self.embedding])]

    def map(self, function: Callable[[Tensor], Tensor]) -> "Outputs":
        """Apply a function to every tensor."""
        features = {key: function(value) for key, value in self.features.items()}
        return Outputs(function(self.logits), features, None if self.embedding is None else function(self.embedding))
