"""The data of a run, as ``summary.json`` records them. Nothing heavy is imported here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class DataInfo:
    """The data of a run; ``train``, ``val``, ``test`` are numbers of samples.

    ``classes`` counts the outputs of a model: classes, labels, or numbers (``targets``); ``class_names`` are their
    names, and ``target_mean`` and ``target_std`` what numbers are standardised with. Images have ``channels`` and an
    ``image_size``, texts a ``tokenizer`` and a ``max_length`` in tokens, at which ``cut``, a share of the training
    texts, are cut.
    """

    name: str
    classes: int
    class_names: list[str]
    preprocess: dict[str, Any]
    train: int
    val: int
    test: int
    carved: list[str]
    in_memory: bool
    fingerprint: str
    targets: str = "classes"
    target_mean: Sequence[float] | None = None
    target_std: Sequence[float] | None = None
    channels: int | None = None
    image_size: int | None = None
    tokenizer: str | None = None
    max_length: int | None = None
    cut: float | None = None
