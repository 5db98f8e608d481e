"""The criterion: named terms with weights, and which outputs of student and teacher each of them reads."""

import copy
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from distill.config.schedules import Schedule
from distill.data import Batch
from distill.distillation.model_info import ModelInfo
from distill.distillation.stage_matching import stage_pairs
from distill.distillation.terms import Function, Term
from distill.losses.logits.standardize import standardize
from distill.models.outputs import Outputs
from distill.tasks.image_classification import ImageClassification
from distill.utils.errors import UserError


class Losses(NamedTuple):
    """The weighted total that is minimised, and each part by name as it was before its weight."""

    total: Tensor
    parts: dict[str, Tensor]


def _as_list(spec: Any) -> list[Any]:
    """One layer or several."""
    return [] if spec is None else list(spec) if isinstance(spec, (list, tuple)) else [spec]


def _set_keyword(loss: Function, argument: str, value: float) -> None:
    cast(Any, loss.function).keywords[argument] = value


class Criterion(nn.Module):
    """L = α · L_hard + (1 − α) · Σ weight · L_soft + Σ weight · (feature and relation terms).

    L_hard is cross-entropy with the labels. α weighs the hard loss; where α is None nothing is shared out:
    L = L_hard + Σ weight · term. A module, so that what the terms learn (adapters, variances) reaches the optimizer,
    moves with the device and is checkpointed.

    While ``pretraining_term`` names a term, that term's pretraining is the whole loss.

    Args:
        alpha: α in [0, 1], its schedule, or None.
        terms: the named terms; none: L = L_hard whatever α is.
        label_smoothing: of L_hard, in [0, 1).
        supervised_loss: L_hard, the task's: takes logits, targets and label_smoothing.

    Attributes:
        scheduled: the present value of everything that follows a schedule, by name.

    Raises:
        UserError: α or label_smoothing out of range.
    """

    def __init__(
        self,
        alpha: float | Schedule | None = 1.0,
        terms: Sequence[Term] = (),
        label_smoothing: float = 0.0,
        supervised_loss: Callable[[Tensor, Tensor, float], Tensor] = ImageClassification.supervised_loss,
    ) -> None:
        super().__init__()
        ends = (alpha.start, alpha.end) if isinstance(alpha, Schedule) else () if alpha is None else (alpha,)
        for end in ends:
            if not 0 <= end <= 1:
                raise UserError(f"kd.alpha must lie in [0, 1] (it weighs the hard loss), got {end}")
        if not 0 <= label_smoothing < 1:
            raise UserError(f"label_smoothing must lie in [0, 1), got {label_smoothing}")
        self.alpha: float | None = ends[0] if ends and terms else None
        self.label_smoothing = label_smoothing
        self.supervised_loss = supervised_loss
        self.terms = tuple(terms)
        self.pretraining_term: str | None = None
        self.places: Tensor | None = None
        self.losses = nn.ModuleDict()  # what is learnt in them is trained and checkpointed
        self.student_layers: dict[str, list[str]] = {}
        self.teacher_layers: dict[str, list[str]] = {}
        self.scheduled: dict[str, float] = {}
        self._weights = {t.name: t.weight.start if isinstance(t.weight, Schedule) else t.weight for t in terms}
        self._schedules: list[tuple[str, Schedule, Callable[[float], None]]] = []
        if isinstance(alpha, Schedule) and terms:
            self._schedules.append(("alpha", alpha, functools.partial(setattr, self, "alpha")))
        for term in self.terms:
            if isinstance(term.weight, Schedule):
                set_weight = functools.partial(self._set_weight, term.name)
                self._schedules.append((f"{term.name}.weight", term.weight, set_weight))

    def _set_weight(self, term: str, value: float) -> None:
        self._weights[term] = value

    # Building

    def build(
        self, student: ModelInfo, teacher: ModelInfo | None, num_samples: int | None, indices: Tensor | None = None
    ) -> None:
        """Resolves the layers of every term and lets the losses build what they learn from the shapes.

        Args:
            student: what a dry forward saw of the student.
            teacher: what a dry forward saw of the teacher; None where there is none.
            num_samples: of the training set (memory banks); None: indices are not stable.
            indices: of the training samples, where they are not 0 … num_samples − 1: in training a term that reads
                ``index`` gets each sample's place among them.

        Raises:
            UserError: a layer or embedding that does not exist, unequal numbers of layers, shapes that do not match.
        """
        if indices is not None and self.reads("index"):
            places = torch.zeros(int(indices.max()) + 1, dtype=torch.int64)
            places[indices] = torch.arange(len(indices))
            del self.places  # a buffer moves with the device
            self.register_buffer("places", places, persistent=False)
        for term in self.terms:
            if teacher is None and term.needs_teacher:
                raise UserError(f"term '{term.name}' needs a teacher, and there is none")
            self._check_embedding(term, student, teacher)
            layers = self._layers(term, student, teacher) if teacher else []
            self.student_layers[term.name] = [pair[0] for pair in layers]
            self.teacher_layers[term.name] = [pair[1] for pair in layers]
            own = term.loss if isinstance(term.loss, nn.Module) else Function(term.loss)
            losses = [copy.deepcopy(own) for _ in range(len(layers) if term.pairwise else 1)]
            for i, loss in enumerate(losses):
                self._build_loss(term.name, loss, self._shapes(term.name, i, student, teacher), num_samples)
                self._schedule_arguments(term, loss)
            self.losses[term.name] = nn.ModuleList(losses)

    @staticmethod
    def _build_loss(name: str, loss: nn.Module, shapes: dict[str, Any], num_samples: int | None) -> None:
        if not hasattr(loss, "build"):
            return
        known = {**shapes, "num_classes": shapes["student_logits"][1], "num_samples": num_samples}
        build: Any = loss.build
        asked = inspect.signature(build).parameters
        try:
            build(**{key: known[key] for key in asked if key in known})
        except ValueError as error:
            raise UserError(f"term '{name}': {error}") from error

    def _schedule_arguments(self, term: Term, loss: nn.Module) -> None:
        """Arguments of a loss that follow a schedule are set as attributes, or as keywords of a partial function."""
        if isinstance(loss, Function) and term.schedules:
            loss.function = functools.partial(loss.function)  # keywords not shared with other criteria
        for argument, schedule in term.schedules.items():
            key = f"kd.terms.{term.name}.loss.{argument}"
            if argument in getattr(loss, "fixed", ()):
                raise UserError(f"{key} cannot follow a schedule: it is set once, when the loss is built")
            if isinstance(loss, Function):
                given: Any = loss.function
                asked = inspect.signature(given.func).parameters
                present = given.keywords.get(argument, asked[argument].default if argument in asked else None)
                change: Any = functools.partial(_set_keyword, loss, argument)
            else:
                asked = inspect.signature(type(loss)).parameters
                present = getattr(loss, argument, None) if argument in asked else None
                change = functools.partial(setattr, loss, argument)
            if not isinstance(present, (int, float)) or isinstance(present, bool):
                raise UserError(f"{key} cannot follow a schedule: the loss keeps no such number")
            self._schedules.append((f"{term.name}.{argument}", schedule, change))

    @staticmethod
    def _check_embedding(term: Term, student: ModelInfo, teacher: ModelInfo | None) -> None:
        for side, model_info in (("student", student), ("teacher", teacher)):
            if model_info and f"{side}_embedding" in term.required and model_info.head is None:
                raise UserError(
                    f"term '{term.name}' reads the embedding of {model_info.name}, "
                    "which has no single linear classifier"
                )

    @staticmethod
    def _layers(term: Term, student: ModelInfo, teacher: ModelInfo) -> list[tuple[str, str]]:
        if not term.uses_features:
            return []
        left, right = _as_list(term.student), _as_list(term.teacher)
        if not left and not right:
            pairs: list[tuple[Any, Any]] = list(stage_pairs(student, teacher, term.name))
        elif not left or len(left) != len(right):
            raise UserError(
                f"term '{term.name}' needs as many student layers as teacher layers, "
                f"got kd.terms.{term.name}.student={term.student} and .teacher={term.teacher}"
            )
        else:
            pairs = list(zip(left, right, strict=True))
        left_key = student.preactivation if term.preactivated("student") else student.layer
        right_key = teacher.preactivation if term.preactivated("teacher") else teacher.layer
        return [(left_key(s), right_key(t)) for s, t in pairs]

    def _shapes(self, name: str, i: int, student: ModelInfo, teacher: ModelInfo | None) -> dict[str, Any]:
        shapes: dict[str, Any] = {}
        for side, model_info, layers in (
            ("student", student, self.student_layers[name]),
            ("teacher", teacher, self.teacher_layers[name]),
        ):
            if model_info is None:
                continue
            shapes |= {f"{side}_logits": model_info.logits, f"{side}_embedding": model_info.embedding}
            if layers:
                every = [model_info.shape(key) for key in layers]
                shapes |= {f"{side}_feature": every[i], f"{side}_features": every, f"{side}_preactivations": every}
        return shapes

    def calibrate(self, teacher: nn.Module, model_info: ModelInfo) -> None:
        """Shows the trained teacher's BatchNorms to the losses that ask for them (a method ``calibrate``).

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
                if hasattr(loss, "calibrate"):
                    cast(Any, loss).calibrate(norms)

    # What it needs

    def extracted_layers(self, side: str) -> list[str]:
        """The layers to tap on one side, ``"student"`` or ``"teacher"``."""
        chosen = self.student_layers if side == "student" else self.teacher_layers
        return list(dict.fromkeys(path for paths in chosen.values() for path in paths))

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
        return not self.pretraining_term or any(
            n.startswith("student_") for t in self.active for n in self._reads_now(t)
        )

    # Phases and epochs

    def set_pretraining(self, term: str | None) -> None:
        """Enters the pretraining of a term, or (None) the main phase."""
        self.pretraining_term = term
        if term is None:
            for module in self.losses.values():
                for loss in cast(nn.ModuleList, module):
                    if hasattr(loss, "after_pretraining"):
                        cast(Any, loss).after_pretraining()

    def start_epoch(self, epoch: int, max_epochs: int) -> None:
        """Sets what follows a schedule to its value in ``epoch``, counted from 0."""
        for name, schedule, change in self._schedules:
            self.scheduled[name] = value = schedule.at(epoch, max_epochs)
            change(value)

    # Computing

    def _values(
        self, names: Sequence[str], term: Term, student: Outputs, teacher: Outputs | None, batch: Batch
    ) -> dict[str, Any]:
        index = batch.index if self.places is None or not self.training else self.places[batch.index]
        values: dict[str, Any] = {"target": batch.target, "index": index}
        for side, outputs, layers in (
            ("student", student, self.student_layers[term.name]),
            ("teacher", teacher, self.teacher_layers[term.name]),
        ):
            if outputs is None:
                continue
            logits = standardize(outputs.logits) if term.standardize and f"{side}_logits" in names else outputs.logits
            values |= {f"{side}_logits": logits, f"{side}_embedding": outputs.embedding}
            features = [outputs.features[key] for key in layers]
            values |= {f"{side}_{kind}": features for kind in ("feature", "features", "preactivations")}
        return {name: values[name] for name in names}

    def term(self, term: Term, student: Outputs, teacher: Outputs | None, batch: Batch) -> Tensor:
        """The term's value; a pairwise one is the sum over its pairs of layers.

        Raises:
            UserError: the loss refuses the batch (a ValueError).
        """
        try:
            return self._term(term, student, teacher, batch)
        except ValueError as error:
            raise UserError(f"term '{term.name}': {error}") from error

    def _term(self, term: Term, student: Outputs, teacher: Outputs | None, batch: Batch) -> Tensor:
        values = self._values(self._reads_now(term), term, student, teacher, batch)
        losses: Any = self.losses[term.name]
        calls = [
            loss.pretraining_loss if self.pretraining_term and hasattr(loss, "pretraining_loss") else loss
            for loss in losses
        ]
        if not term.pairwise:
            return cast(Tensor, calls[0](**values))
        singles = [key for key in values if key.endswith("_feature")]
        pairs = ({**values, **{key: values[key][i] for key in singles}} for i in range(len(calls)))
        return torch.stack([call(**pair) for call, pair in zip(calls, pairs, strict=True)]).sum()

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> Losses:
        """The losses of one batch."""
        hard = self.supervised_loss(student.logits, batch.target, self.label_smoothing)
        if self.pretraining_term:
            (term,) = self.active
            assert term.pretraining is not None, f"term {term.name} has no pretraining"
            value = self.term(term, student, teacher, batch)
            return Losses(term.pretraining.weight * value, {"hard": hard.detach(), term.name: value})
        parts, total = {"hard": hard}, hard if self.alpha is None else self.alpha * hard
        for term in self.active:
            parts[term.name] = value = self.term(term, student, teacher, batch)
            shared = 1 - self.alpha if term.is_soft_target and self.alpha is not None else 1.0
            total = total + self._weights[term.name] * shared * value
        return Losses(total, parts)
