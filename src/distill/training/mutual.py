"""Deep mutual learning: two or more students are each other's teachers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from distill.data import Batch
from distill.distillation.criterion import Criterion, Losses
from distill.distillation.feature_extractor import FeatureExtractor
from distill.training.evaluation_module import StepOutput
from distill.training.module import DistillationModule


class MutualDistillationModule(DistillationModule):
    """Trains students together: L = Σ_i mean_{j ≠ i} criterion(student i, student j as its teacher).

    With the KD term at T = 1 and α null that is Σ_i [CE_i + mean_{j ≠ i} KL(p_j ‖ p_i)], deep mutual learning. No
    gradient flows into a student through its outputs as a teacher. All students' forwards precede any update (the paper
    updates them in turn within a step).

    Args:
        students: two or more; the first is the one the run is about.
        criteria: for each student one built criterion per other student, in their order.
        heads: module path of each student's classifier, where a term reads its embedding.
        settings: as of :class:`DistillationModule`, without a teacher.

    Source: Zhang et al. 2018, "Deep Mutual Learning", arXiv:1706.00384, eq. 4 to 8.
    """

    def __init__(
        self,
        students: Sequence[nn.Module],
        criteria: Sequence[Sequence[Criterion]],
        heads: Sequence[str | None],
        **settings: Any,
    ) -> None:
        super().__init__(students[0], criteria[0][0], agreement=True, **settings)
        self.peers = nn.ModuleList(students[1:])
        self.criteria = nn.ModuleList([nn.ModuleList(row) for row in criteria])
        self.extractor.remove()
        self._extractors = []
        for i, student in enumerate(students):
            as_student = [key for criterion in criteria[i] for key in criterion.extracted_layers("student")]
            as_teacher = [
                key
                for j, row in enumerate(criteria)
                if j != i
                for key in row[i if i < j else i - 1].extracted_layers("teacher")
            ]
            self._extractors.append(FeatureExtractor(student, dict.fromkeys([*as_student, *as_teacher]), heads[i]))

    def compute(self, batch: Batch, split: str) -> StepOutput:
        """Outputs of the first two students, and the losses of all."""
        outputs = [extractor(batch.inputs) for extractor in self._extractors]
        teachers = [output.map(Tensor.detach) for output in outputs]
        totals: list[Tensor] = []
        parts: dict[str, list[Tensor]] = {}
        for i, row in enumerate(self.criteria):
            others = [teacher for j, teacher in enumerate(teachers) if j != i]
            criteria: Any = row
            losses = [criterion(outputs[i], other, batch) for criterion, other in zip(criteria, others, strict=True)]
            totals.append(torch.stack([loss.total for loss in losses]).mean())
            for loss in losses:
                for name, value in loss.parts.items():
                    parts.setdefault(name if i == 0 else f"peer_{i}_{name}", []).append(value)
        means = {name: torch.stack(values).mean() for name, values in parts.items()}
        return StepOutput(outputs[0], teachers[1], Losses(torch.stack(totals).sum(), means))

    def on_train_start(self) -> None:
        """All students are trained."""

    def start_epoch(self, epoch: int, max_epochs: int) -> None:
        for row in self.criteria:
            for criterion in row:  # type: ignore[attr-defined]
                criterion.start_epoch(epoch, max_epochs)
