"""What a task is given: the facts of the data, and the terms of the loss."""

from collections.abc import Sequence
from typing import Any, Protocol


class TaskData(Protocol):
    """What a model must fit: a DataModule, or what a finished run remembers of one."""

    @property
    def num_classes(self) -> int:
        """Outputs of a model: classes, labels, or numbers per sample."""

    @property
    def classes(self) -> Sequence[str]:
        """Their names."""

    @property
    def kind(self) -> str:
        """What the samples are: "images" or "text"."""

    def model_arguments(self, output: str) -> dict[str, Any]:
        """What a model's constructor is told of the data; ``output`` as :attr:`Task.output`."""

    def example(self, n: int) -> Any:
        """A batch of ``n`` inputs."""


class Reader(Protocol):
    """A term of the loss, as a task judges it."""

    @property
    def name(self) -> str:
        """Under which it is logged."""

    @property
    def loss(self) -> Any:
        """What computes it."""

    @property
    def standardize(self) -> bool:
        """Whether its logits are z-scored."""

    @property
    def all_reads(self) -> frozenset[str]:
        """The names of what it reads: ``student_logits``, ``target``, …"""
