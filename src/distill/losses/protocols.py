"""What a loss may define besides ``forward``: the optional methods and attributes that the criterion looks for.

A loss needs none of them. The names of the parameters of ``forward`` say what it reads, see
:class:`distill.distillation.terms.Term`.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class ShapeDependent(Protocol):
    """A loss with adapters, memory banks or checks that depend on the shapes of what it reads."""

    def build(self, *args: Any, **kwargs: Any) -> None:
        """Create parameters and buffers, once, before training.

        Its parameters are named as those of ``forward`` and receive shapes, batch axis first (a list of shapes for
        ``…_features`` and ``…_preactivations``); ``num_classes`` and ``num_samples`` (of the training set; None
        where indices are not stable) may be parameters as well.

        Raises:
            ValueError: shapes that the loss cannot match.
        """


@runtime_checkable
class Pretrainable(Protocol):
    """A loss with a pretraining stage that minimises another quantity than ``forward``."""

    def pretraining_loss(self, *args: Any, **kwargs: Any) -> Tensor:
        """The scalar that the pretraining stage minimises; reads by parameter name, as ``forward``."""


@runtime_checkable
class EndsPretraining(Protocol):
    """A loss that changes when its pretraining ends, e.g. freezes what was pretrained."""

    def after_pretraining(self) -> None:
        """Called whenever the main stage is entered, also after a resume."""


@runtime_checkable
class Calibrated(Protocol):
    """A loss that depends on the trained teacher's BatchNorms."""

    def calibrate(self, teacher_norms: Sequence[tuple[Tensor, Tensor] | None], /) -> None:
        """Receive (β, γ), each (C,), of the BatchNorm before each teacher layer's activation; None where none is."""


@runtime_checkable
class TakesTokens(Protocol):
    """A loss on inner layers that may be tokens of texts (N, L, D), some of which are padding.

    Attributes:
        takes_tokens: True.
    """

    takes_tokens: bool


@runtime_checkable
class BatchLimited(Protocol):
    """A loss that takes a limited number of samples."""

    @property
    def largest_batch(self) -> int | None:
        """Maximum number of samples in a batch; None: no limit."""


@runtime_checkable
class SoftTarget(Protocol):
    """A loss that belongs to L_soft, weighed by 1 − α, though it does not read ``teacher_logits``."""

    is_soft_target: bool


@runtime_checkable
class AcceptsSoftTargets(Protocol):
    """A loss whose ``target`` may be shares (N, C), as mixup gives them, instead of labels (N,)."""

    soft_targets: bool


@runtime_checkable
class ComparesRows(Protocol):
    """A logit loss that compares the samples of a batch with one another, and so needs one row of logits for each."""

    compares_rows: bool


@runtime_checkable
class FixedArguments(Protocol):
    """A loss with arguments that are used once, at construction or in ``build``: no schedule can change them."""

    fixed: tuple[str, ...]
