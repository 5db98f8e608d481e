"""The criterion: named terms with weights, and which outputs of student and teacher each of them reads."""

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.data import Batch
from distill.errors import UserError, nearest
from distill.losses.checks import not_negative, upcast
from distill.taps import Anatomy, Outputs

READS = (
    "student_logits",
    "teacher_logits",
    "student_embedding",
    "teacher_embedding",
    "student_feature",
    "teacher_feature",
    "student_features",
    "teacher_features",
    "target",
    "index",
)
TAKEN = ("loss", "hard", "total", "acc", "top5", "agreement")


class Losses(NamedTuple):
    """The weighted total that is minimised, and each part by name as it was before its weight."""

    total: Tensor
    parts: dict[str, Tensor]


@dataclass
class Term:
    """One named term of the loss.

    What it reads is said by the parameter names of its ``forward`` (see ``READS``): ``student_feature`` is one
    layer's output and the term is the sum over the pairs of layers (each pair with its own copy of the loss);
    ``student_features`` is the list of all of them. A loss with parameters of its own has a method ``build``
    that takes shapes under the same names (and ``num_classes``, ``num_samples``).

    Args:
        name: under which it is logged.
        loss: a module or a plain function.
        weight: ≥ 0. A term that reads ``teacher_logits`` is part of L_soft and is weighed by (1 − α) as well.
        student: the student's layers: a stage's number, a module path, or a list of these.
        teacher: the teacher's layers, as many.
    """

    name: str
    loss: Callable[..., Tensor]
    weight: float = 1.0
    student: Any = None
    teacher: Any = None
    reads: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or self.name in TAKEN or hasattr(nn.ModuleDict, self.name):
            raise UserError(
                f"'{self.name}' cannot name a term of the loss: it must be an identifier that is not in use"
            )
        forward = self.loss.forward if isinstance(self.loss, nn.Module) else self.loss
        required = [
            name
            for name, parameter in inspect.signature(forward).parameters.items()
            if name in READS or parameter.default is parameter.empty
        ]
        for name in required:
            if name not in READS:
                raise UserError(
                    f"term '{self.name}': its loss reads '{name}', which is unknown; {nearest(name, READS)}"
                )
        self.reads = tuple(required)
        try:
            not_negative("weight", self.weight)
        except ValueError as error:
            raise UserError(f"kd.terms.{self.name}.{error}") from None

    @property
    def soft(self) -> bool:
        """Whether the term is part of L_soft."""
        return "teacher_logits" in self.reads

    @property
    def layered(self) -> bool:
        """Whether the term reads inner layers."""
        return any("_feature" in name for name in self.reads)

    @property
    def pairwise(self) -> bool:
        """Whether the term is a sum over pairs of layers."""
        return "student_feature" in self.reads or "teacher_feature" in self.reads


class _Function(nn.Module):
    """A plain function as a module without parameters."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, **values: Any) -> Tensor:
        return self.function(**values)


def _as_list(spec: Any) -> list[Any]:
    """One layer or several."""
    return [] if spec is None else list(spec) if isinstance(spec, (list, tuple)) else [spec]


class Criterion(nn.Module):
    """L = α · L_hard + (1 − α) · Σ weight · L_soft + Σ weight · (feature and relation terms).

    L_hard is cross-entropy with the labels. α weighs the hard loss. A module, so that what the terms learn
    (adapters, variances) reaches the optimizer, moves with the device and is checkpointed.

    Args:
        alpha: α in [0, 1].
        terms: the named terms; none: L = L_hard whatever α is.
        label_smoothing: of L_hard, in [0, 1).

    Raises:
        UserError: α or label_smoothing out of range.
    """

    def __init__(self, alpha: float = 1.0, terms: Sequence[Term] = (), label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0 <= alpha <= 1:
            raise UserError(f"kd.alpha must lie in [0, 1] (it weighs the hard loss), got {alpha}")
        if not 0 <= label_smoothing < 1:
            raise UserError(f"label_smoothing must lie in [0, 1), got {label_smoothing}")
        self.alpha = alpha if terms else 1.0
        self.label_smoothing = label_smoothing
        self.terms = tuple(terms)
        self.losses = nn.ModuleDict()  # what is learnt in them is trained and checkpointed
        self.student_layers: dict[str, list[str]] = {}
        self.teacher_layers: dict[str, list[str]] = {}

    def build(self, student: Anatomy, teacher: Anatomy | None, num_samples: int) -> None:
        """Resolves the layers of every term and lets the losses build what they learn from the shapes.

        Args:
            student: what a dry forward saw of the student.
            teacher: what a dry forward saw of the teacher; None where there is none.
            num_samples: size of the training set (memory banks).

        Raises:
            UserError: a layer or embedding that does not exist, unequal numbers of layers, shapes that do not match.
        """
        for term in self.terms:
            if teacher is None:
                raise UserError(f"term '{term.name}' needs a teacher, and kd has none")
            self._check_embedding(term, student, teacher)
            layers = self._layers(term, student, teacher)
            self.student_layers[term.name] = [pair[0] for pair in layers]
            self.teacher_layers[term.name] = [pair[1] for pair in layers]
            own = term.loss if isinstance(term.loss, nn.Module) else _Function(term.loss)
            losses = [copy.deepcopy(own) for _ in range(len(layers) if term.pairwise else 1)]
            for i, loss in enumerate(losses):
                self._build_loss(term.name, loss, self._shapes(term.name, i, student, teacher), num_samples)
            self.losses[term.name] = nn.ModuleList(losses)

    @staticmethod
    def _build_loss(name: str, loss: nn.Module, shapes: dict[str, Any], num_samples: int) -> None:
        if not hasattr(loss, "build"):
            return
        known = {**shapes, "num_classes": shapes["student_logits"][1], "num_samples": num_samples}
        build: Any = loss.build
        asked = inspect.signature(build).parameters
        try:
            build(**{key: known[key] for key in asked if key in known})
        except ValueError as error:
            raise UserError(f"term '{name}': {error}") from error

    @staticmethod
    def _check_embedding(term: Term, student: Anatomy, teacher: Anatomy) -> None:
        for side, anatomy in (("student", student), ("teacher", teacher)):
            if f"{side}_embedding" in term.reads and anatomy.head is None:
                raise UserError(
                    f"term '{term.name}' reads the embedding of {anatomy.name}, which has no single linear classifier"
                )

    @staticmethod
    def _layers(term: Term, student: Anatomy, teacher: Anatomy) -> list[tuple[str, str]]:
        if not term.layered:
            return []
        left, right = _as_list(term.student), _as_list(term.teacher)
        if not left or len(left) != len(right):
            raise UserError(
                f"term '{term.name}' needs as many student layers as teacher layers, at least one, "
                f"got kd.terms.{term.name}.student={term.student} and .teacher={term.teacher}"
            )
        return [(student.layer(s), teacher.layer(t)) for s, t in zip(left, right, strict=True)]

    def _shapes(self, name: str, i: int, student: Anatomy, teacher: Anatomy) -> dict[str, Any]:
        shapes: dict[str, Any] = {
            "student_logits": student.logits,
            "teacher_logits": teacher.logits,
            "student_embedding": student.embedding,
            "teacher_embedding": teacher.embedding,
        }
        s, t = self.student_layers[name], self.teacher_layers[name]
        if s:
            shapes |= {"student_feature": student.shapes[s[i]], "teacher_feature": teacher.shapes[t[i]]}
            shapes |= {"student_features": [student.shapes[p] for p in s]}
            shapes |= {"teacher_features": [teacher.shapes[p] for p in t]}
        return shapes

    def taps(self, side: str) -> list[str]:
        """The module paths to tap on one side, ``"student"`` or ``"teacher"``."""
        chosen = self.student_layers if side == "student" else self.teacher_layers
        return list(dict.fromkeys(path for paths in chosen.values() for path in paths))

    def reads(self, name: str) -> bool:
        """Whether any term reads ``name`` (one of ``READS``)."""
        return any(name in term.reads for term in self.terms)

    def _values(self, term: Term, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Any]:
        s = [student.features[path] for path in self.student_layers[term.name]]
        t = [teacher.features[path] for path in self.teacher_layers[term.name]]
        values: dict[str, Any] = {
            "student_logits": student.logits,
            "teacher_logits": teacher.logits,
            "student_embedding": student.embedding,
            "teacher_embedding": teacher.embedding,
            "student_feature": s,
            "teacher_feature": t,
            "student_features": s,
            "teacher_features": t,
            "target": batch.target,
            "index": batch.index,
        }
        return {name: values[name] for name in term.reads}

    def term(self, term: Term, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """The term's value; a pairwise one is the sum over its pairs of layers."""
        values = self._values(term, student, teacher, batch)
        losses: Any = self.losses[term.name]
        if not term.pairwise:
            return cast(Tensor, losses[0](**values))
        singles = [key for key in values if key.endswith("_feature")]
        pairs = ({**values, **{key: values[key][i] for key in singles}} for i in range(len(losses)))
        return torch.stack([loss(**pair) for loss, pair in zip(losses, pairs, strict=True)]).sum()

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> Losses:
        """The losses of one batch."""
        hard = F.cross_entropy(upcast(student.logits), batch.target, label_smoothing=self.label_smoothing)
        parts, total = {"hard": hard}, self.alpha * hard
        if teacher is not None:
            for term in self.terms:
                parts[term.name] = value = self.term(term, student, teacher, batch)
                total = total + term.weight * ((1 - self.alpha) if term.soft else 1.0) * value
        return Losses(total, parts)
