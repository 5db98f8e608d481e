"""The data of a run, as ``summary.json`` records them. Nothing heavy is imported here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class DataInfo:
    """The data of a run; ``train``, ``val``, ``test`` are numbers of samples.

    ``classes`` counts the outputs of a model: classes, labels, or numbers (``targets``); ``class_names`` are their
    names, and ``target_mean`` and ``target_std`` what numbers are standardised with.
    """

    name: str
    classes: int
    channels: int
    image_size: int
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
