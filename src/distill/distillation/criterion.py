"""The criterion: L = α · L_hard + (1 − α) · Σ weight · L_soft + Σ weight · (feature and relation terms)."""

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from distill.config.schedules import Schedule
from distill.data import Batch
from distill.distillation.language_terms import hard_part, is_of_rows, over_rows, term_part
from distill.distillation.model_info import ModelInfo
from distill.distillation.term_builder import build_term
from distill.distillation.terms import FROM_LAYERS, Term, argument_setter, end_values
from distill.losses.checks import zero
from distill.losses.logits.standardize import standardize
from distill.losses.protocols import Calibrated, ComparesRows, EndsPretraining, Pretrainable
from distill.models.outputs import Outputs
from distill.tasks.base import Task
from distill.tasks.classification import cross_entropy
from distill.utils.errors import UserError

Inputs = dict[str, Tensor | list[Tensor] | None]


class Losses(NamedTuple):
    """The weighted total that is minimised, and each part by name as it was before its weight."""

    total: Tensor
    parts: dict[str, Tensor]


class Criterion(nn.Module):
    """L = α · L_hard + (1 − α) · Σ weight · L_soft + Σ weight · (feature and relation terms).

    L_hard is the task's supervised loss. α weighs the hard loss; where α is None nothing is shared out:
    L = L_hard + Σ weight · term. A module, so that the parameters of the terms (adapters, variances) reach the
    optimizer, move with the device and are checkpointed.

    While ``pretraining_term`` names a term, that term's pretraining loss is the whole loss.

    Args:
        alpha: α in [0, 1], its schedule, or None.
        terms: the named terms; none: L = L_hard whatever α is.
        label_smoothing: of L_hard, in [0, 1).
        task: gives L_hard, and the rows that logit terms see; None: cross-entropy, and one row per sample.
        auxiliary: path of the student's second head, whose supervised loss is part of L_hard in training; None: none.

    Attributes:
        losses: the built losses of every term, by name.
        student_layers: keys of the student's layers that each term reads, by name.
        teacher_layers: keys of the teacher's layers that each term reads, by name.
        weights: the present weight of every term, by name.
        scheduled: the present value of everything that follows a schedule, by name; empty before the first epoch.
        row_of_index: row of each sample's index among the training samples; None where the two are equal.

    Raises:
        UserError: α or label_smoothing out of range.
    """

    row_of_index: Tensor | None

    def __init__(
        self,
        alpha: float | Schedule | None = 1.0,
        terms: Sequence[Term] = (),
        label_smoothing: float = 0.0,
        task: Task | None = None,
        auxiliary: str | None = None,
    ) -> None:
        super().__init__()
        self.auxiliary = auxiliary
        ends = () if alpha is None else end_values(alpha)
        for end in ends:
            if not 0 <= end <= 1:
                raise UserError(f"kd.alpha must lie in [0, 1] (it weighs the hard loss), got {end}")
        if not 0 <= label_smoothing < 1:
            raise UserError(f"label_smoothing must lie in [0, 1), got {label_smoothing}")
        self.alpha: float | None = ends[0] if ends and terms else None
        self.label_smoothing = label_smoothing
        self.task = task
        self.terms = tuple(terms)
        self.pretraining_term: str | None = None
        self.register_buffer("row_of_index", None, persistent=False)
        self.losses = nn.ModuleDict()
        self.student_layers: dict[str, list[str]] = {}
        self.teacher_layers: dict[str, list[str]] = {}
        self.weights = {term.name: end_values(term.weight)[0] for term in terms}
        self.scheduled: dict[str, float] = {}
        self._schedules: list[tuple[str, Schedule, Callable[[float], None]]] = []  # name, schedule, setter
        if isinstance(alpha, Schedule) and terms:
            self._schedules.append(("alpha", alpha, functools.partial(setattr, self, "alpha")))
        for term in self.terms:
            if isinstance(term.weight, Schedule):
                set_weight = functools.partial(operator.setitem, self.weights, term.name)
                self._schedules.append((f"{term.name}.weight", term.weight, set_weight))

    def build(
        self, student: ModelInfo, teacher: ModelInfo | None, num_samples: int | None, indices: Tensor | None = None
    ) -> None:
        """Build every term for two models.

        Args:
            student: of the student.
            teacher: of the teacher; None where there is none.
            num_samples: of the training set (memory banks); None: indices are not stable.
            indices: of the training samples, where they are not 0 … num_samples − 1: in training a term that reads
                ``index`` gets each sample's row among them.

        Raises:
            UserError: a layer or embedding that does not exist, unequal numbers of layers, shapes that do not match.
        """
        if indices is not None and self.reads("index"):
            rows = torch.zeros(int(indices.max()) + 1, dtype=torch.int64)
            rows[indices] = torch.arange(len(indices))
            self.row_of_index = rows
        self.auxiliary = student.auxiliary
        for term in self.terms:
            losses, pairs = build_term(term, student, teacher, num_samples, self.task)
            self.losses[term.name] = nn.ModuleList(losses)
            self.student_layers[term.name] = [student_key for student_key, _ in pairs]
            self.teacher_layers[term.name] = [teacher_key for _, teacher_key in pairs]
            for loss in losses:
                self._schedules += [
                    (f"{term.name}.{argument}", schedule, argument_setter(term, loss, argument))
                    for argument, schedule in term.schedules.items()
                ]

    def calibrate(self, teacher: nn.Module, model_info: ModelInfo) -> None:
        """Give the trained teacher's BatchNorms to the losses that are :class:`~distill.losses.protocols.Calibrated`.

        Each gets a list with, for every layer of its term, (β, γ) of the BatchNorm before that layer's activation, or
        None where there is none.
        """
        for term in self.terms:
            norms = []
            for key in self.teacher_layers[term.name]:
                path = model_info.norms.get(key.partition(":")[0])
                norm: Any = teacher.get_submodule(path) if path else None
                norms.append((norm.bias.detach(), norm.weight.detach()) if norm is not None and norm.affine else None)
            for loss in cast(nn.ModuleList, self.losses[term.name]):
                if isinstance(loss, Calibrated):
                    loss.calibrate(norms)

    # What the terms read

    def extracted_layers(self, side: str) -> list[str]:
        """Keys of the layers to extract from one side, ``"student"`` or ``"teacher"``."""
        layers = self.student_layers if side == "student" else self.teacher_layers
        own = [self.auxiliary] if side == "student" and self.auxiliary else []
        return list(dict.fromkeys([*(key for keys in layers.values() for key in keys), *own]))

    def reads(self, name: str) -> bool:
        """Whether any term reads ``name`` (one of ``READS``) in any phase."""
        return any(name in term.all_reads for term in self.terms)

    @property
    def needs_teacher(self) -> bool:
        """Whether any term reads anything of a teacher in any phase."""
        return any(term.needs_teacher for term in self.terms)

    @property
    def active(self) -> list[Term]:
        """The terms of the present phase."""
        if self.pretraining_term:
            return [term for term in self.terms if term.name == self.pretraining_term]
        return [term for term in self.terms if not term.is_inactive]

    def _reads_now(self, term: Term) -> tuple[str, ...]:
        return term.pretraining_reads if self.pretraining_term else term.reads

    @property
    def asks_teacher(self) -> bool:
        """Whether the present phase reads anything of a teacher."""
        return any(name.startswith("teacher_") for term in self.active for name in self._reads_now(term))

    @property
    def teaches_student(self) -> bool:
        """Whether the present phase trains the student (a paraphraser's pretraining does not)."""
        reads = (name for term in self.active for name in self._reads_now(term))
        return not self.pretraining_term or any(name.startswith("student_") for name in reads)

    # Phases and epochs

    def set_pretraining(self, term: str | None) -> None:
        """Enter the pretraining of a term, or (None) the main phase."""
        self.pretraining_term = term
        if term is None:
            for losses in self.losses.values():
                for loss in cast(nn.ModuleList, losses):
                    if isinstance(loss, EndsPretraining):
                        loss.after_pretraining()

    def start_epoch(self, epoch: int, max_epochs: int) -> None:
        """Set what follows a schedule to its value in ``epoch``, counted from 0."""
        for name, schedule, set_value in self._schedules:
            self.scheduled[name] = value = schedule.at(epoch, max_epochs)
            set_value(value)

    # Computing

    def _inputs(self, term: Term, student: Outputs, teacher: Outputs | None, batch: Batch) -> Inputs:
        """What the term reads in the present phase, by name."""
        names = self._reads_now(term)
        index = batch.index if self.row_of_index is None or not self.training else self.row_of_index[batch.index]
        task, target, chosen = self.task, batch.target, None
        if task is not None and any(name.endswith("_logits") for name in names):
            target = task.row_targets(target)
            if isinstance(term.loss, ComparesRows) and term.loss.compares_rows:
                chosen = task.compared_rows(len(target), target.device)
                target = target if chosen is None else target[chosen]
        mask = batch.inputs.get("attention_mask") if isinstance(batch.inputs, Mapping) else None
        inputs: Inputs = {"target": target, "index": index, "attention_mask": mask}
        for side, outputs, layers in (
            ("student", student, self.student_layers[term.name]),
            ("teacher", teacher, self.teacher_layers[term.name]),
        ):
            if outputs is None:
                continue
            logits: Tensor | None = None
            if f"{side}_logits" in names:
                logits = outputs.logits if task is None else task.rows(outputs.at_target, batch.target)
                logits = logits[chosen] if logits is not None and chosen is not None else logits
                logits = standardize(logits) if term.standardize and logits is not None else logits
            inputs |= {f"{side}_logits": logits, f"{side}_output": outputs.logits}
            inputs[f"{side}_embedding"] = outputs.embedding
            features = [outputs.features[key] for key in layers]
            inputs |= {f"{side}_{name}": features for name in FROM_LAYERS}
        return {name: inputs[name] for name in names}

    def term(self, term: Term, student: Outputs, teacher: Outputs | None, batch: Batch) -> Tensor:
        """The term's value; a pairwise one is the sum over its pairs of layers.

        Raises:
            UserError: the loss refuses the batch (a ValueError).
        """
        losses: Any = self.losses[term.name]
        if self.pretraining_term:
            losses = [loss.pretraining_loss if isinstance(loss, Pretrainable) else loss for loss in losses]
        try:
            if student.head is not None and is_of_rows(term):
                return over_rows([term_part(term, losses[0], 1.0)], student, teacher, self.task, batch)[0]
            inputs = self._inputs(term, student, teacher, batch)
            rows = inputs.get("student_logits")
            if isinstance(rows, Tensor) and not len(rows):  # a batch in which no pixel, or no word, has a class
                return zero(rows)
            if not term.pairwise:
                return cast(Tensor, losses[0](**inputs))
            paired = {name: cast(list[Tensor], value) for name, value in inputs.items() if name.endswith("_feature")}
            pairs = [{**inputs, **{name: paired[name][i] for name in paired}} for i in range(len(losses))]
            return torch.stack([loss(**pair) for loss, pair in zip(losses, pairs, strict=True)]).sum()
        except ValueError as error:
            raise UserError(f"term '{term.name}': {error}") from error

    def hard(self, student: Outputs, batch: Batch) -> Tensor | None:
        """L_hard of one batch; None: there are no labels."""
        if student.head is not None:
            return over_rows([hard_part(1.0, self.label_smoothing)], student, None, self.task, batch)[0]
        supervised = cross_entropy if self.task is None else self.task.supervised_loss
        return supervised(student.at_target, batch.target, self.label_smoothing)

    def _of_tokens(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> Losses:
        """The losses of a language model, those of logits together: each row's logits are computed once."""
        parts = [hard_part(1.0 if self.alpha is None else self.alpha, self.label_smoothing)]
        for term in filter(is_of_rows, self.active):
            parts.append(term_part(term, cast(nn.ModuleList, self.losses[term.name])[0], self._weight(term)))
        total, values = over_rows(parts, student, teacher, self.task, batch)
        for term in (each for each in self.active if not is_of_rows(each)):
            values[term.name] = self.term(term, student, teacher, batch)
            total = total + self._weight(term) * values[term.name]
        return Losses(total, values)

    def _weight(self, term: Term) -> float:
        """What the term is multiplied by in the total."""
        share = 1 - self.alpha if term.is_soft_target and self.alpha is not None else 1.0
        return self.weights[term.name] * share

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> Losses:
        """The losses of one batch."""
        if student.head is not None and not self.pretraining_term:
            return self._of_tokens(student, teacher, batch)
        hard = self.hard(student, batch)
        parts: dict[str, Tensor] = {} if hard is None else {"hard": hard}
        if self.training and self.auxiliary in student.features and self.task is not None and hard is not None:
            second = self.task.supervised_loss(student.features[self.auxiliary], batch.target, self.label_smoothing)
            assert second is not None
            parts["auxiliary"], hard = second, hard + self.task.auxiliary_weight * second
        if self.pretraining_term:
            (term,) = self.active
            assert term.pretraining is not None, f"term {term.name} has no pretraining"
            value = self.term(term, student, teacher, batch)
            parts = {name: part.detach() for name, part in parts.items()}
            return Losses(term.pretraining.weight * value, {**parts, term.name: value})
        total: Any = student.logits.new_zeros(()) if hard is None else hard if self.alpha is None else self.alpha * hard
        for term in self.active:
            parts[term.name] = value = self.term(term, student, teacher, batch)
            total = total + self._weight(term) * value
        return Losses(total, parts)
