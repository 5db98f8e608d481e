"""No labels: the student learns the teacher's embedding (N, D), which is what a classifier would read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from distill.data import DataModule
from distill.tasks.base import Reader, Targets, Task, TaskData
from distill.tasks.info import Metric
from distill.tasks.probe import Probe
from distill.tasks.similarity import NEIGHBOURS, SimilarityMetrics

PROBED = (
    Metric("knn", "k-NN accuracy"),
    Metric("probe", "linear probe"),
    Metric("random_knn", "k-NN accuracy, random weights"),
    Metric("random_probe", "linear probe, random weights"),
)


class Embedding(Task):
    """Label-free distillation of a backbone.

    Student and teacher lose their classifiers before training: a model gives its embedding, and the two need neither
    the same width nor the same classes. There is no L_hard. A teacher is compared with itself, so that it scores 1.

    Args:
        num_classes: not used; the data may have classes or none.
        score: the metric that chooses: "spearman" or "knn_overlap".
        probe: a folder with class folders (train/ and test/, or classes alone): at the end, how well frozen embeddings
            tell its classes apart, by k nearest neighbours and by logistic regression; None: not measured.
    """

    name = "embedding"
    metric_infos = (
        Metric("spearman", "Spearman ρ of cosines", "max", "number"),
        Metric("knn_overlap", f"overlap of {NEIGHBOURS} neighbours"),
    )
    default_score = "spearman"
    targets: ClassVar[Targets] = "none"
    has_classifier = False
    output = "embedding"

    def __init__(self, num_classes: int, score: str | None = None, probe: str | None = None) -> None:
        super().__init__(num_classes, score)
        self._probe = None if probe is None else Probe(probe)
        if self._probe is not None:
            self.info = replace(self.info, metrics=(*self.info.metrics, *PROBED))

    def model_arguments(self, data: TaskData) -> dict[str, Any]:
        """What the data say; two classes without names, whose classifier is taken off."""
        return {**super().model_arguments(data), "num_classes": 2, "class_names": None}

    def supervised_loss(self, output: Tensor, target: Tensor, label_smoothing: float = 0.0) -> None:
        """None: there are no labels."""

    def rows(self, output: Tensor, target: Tensor | None = None) -> None:
        """None: an embedding is no distribution."""

    def refusal(self, term: Reader) -> str | None:
        """Terms that read logits, outputs or labels are refused."""
        reads = {name.partition("_")[2] or name for name in term.all_reads}
        if {"logits", "output"} & reads:
            return "it compares the outputs of classifiers, and there are none without labels"
        return "it needs labels, and there are none" if "target" in reads else None

    def metrics(self, with_agreement: bool) -> SimilarityMetrics:
        """Spearman's ρ of the cosines, and the overlap of neighbours."""
        return SimilarityMetrics(with_agreement)

    def decode(self, output: Tensor, names: Sequence[str]) -> list[dict[str, Any]]:
        """The numbers of each embedding, under "embedding"."""
        del names
        return [{"embedding": row} for row in output.float().tolist()]

    def prepare(self, data: DataModule[Any]) -> None:
        """Lists the images of the probe.

        Raises:
            UserError: its folder is missing, or has no class folders.
        """
        if self._probe is not None:
            self._probe.prepare(data)

    def final_scores(self, model: nn.Module, fresh: Callable[[], nn.Module] | None = None) -> Mapping[str, float]:
        """Accuracies of the probe on a frozen model, and on one with random weights."""
        if self._probe is None:
            return {}
        random = {} if fresh is None else {f"random_{name}": value for name, value in self._probe(fresh()).items()}
        return self._probe(model) | random

    def example_target(self, n: int, inputs: Any = None) -> Tensor:
        """No targets: zeros (n,)."""
        del inputs
        return torch.zeros(n)
