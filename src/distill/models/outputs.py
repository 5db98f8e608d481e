"""What a model returns for one batch."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn


class HiddenStateModel:
    """Marks models whose output is last hidden states (N, L, D), of which ``output_layer`` makes logits (N, L, C).

    Any other module may have an attribute of that name, as classifiers do.
    """

    output_layer: nn.Linear | None


def output_layer(model: object) -> nn.Linear | None:
    """Of a language model what makes logits of its output; else None."""
    return model.output_layer if isinstance(model, HiddenStateModel) else None


class Outputs(NamedTuple):
    """What a model returned for a batch.

    Attributes:
        logits: (N, C); of tokens (N, L, C), of maps (N, C, H, W) at the model's own stride; of a language model its
            last hidden states (N, L, D), as logits of all tokens over a vocabulary are more than there is room for.
        features: hidden features by module path.
        embedding: (N, D), what the classifier reads; None where no term reads it.
        sized: the logits at the size of the targets (``Task.sized``); None: they are that already.
        head: of a language model the ``nn.Linear`` that makes logits of hidden states, or of a cached teacher what
            reads its rows; of others None.
    """

    logits: Tensor
    features: dict[str, Tensor]
    embedding: Tensor | None
    sized: Tensor | None = None
    head: Any = None

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
        embedding = None if self.embedding is None else function(self.embedding)
        return Outputs(function(self.logits), features, embedding, head=self.head)
