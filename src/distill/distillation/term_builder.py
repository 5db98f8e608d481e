"""Building a term against a student and a teacher: matches layers, copies the loss, creates what depends on shapes."""

import copy
import inspect
from dataclasses import dataclass
from typing import Any

from torch import nn

from distill.distillation.model_info import ModelInfo
from distill.distillation.stage_matching import stage_pairs
from distill.distillation.terms import Function, Term
from distill.losses.protocols import ShapeDependent
from distill.utils.errors import UserError


@dataclass(frozen=True)
class BuiltTerm:
    """A term's losses, ready to compute, and the layers they read.

    Attributes:
        losses: one per pair of layers if the term is pairwise, else one.
        student_layers: keys of the student's layers; empty if the term reads none.
        teacher_layers: keys of the teacher's layers, as many.
    """

    losses: nn.ModuleList
    student_layers: list[str]
    teacher_layers: list[str]


def build_term(term: Term, student: ModelInfo, teacher: ModelInfo | None, num_samples: int | None) -> BuiltTerm:
    """Resolve a term's layers and build a copy of its loss for each pair of them.

    Args:
        term: left as it is.
        student: of the student.
        teacher: of the teacher; None where there is none.
        num_samples: of the training set (memory banks); None: indices are not stable.

    Raises:
        UserError: a layer or embedding that does not exist, unequal numbers of layers, shapes that do not match.
    """
    if teacher is None and term.needs_teacher:
        raise UserError(f"term '{term.name}' needs a teacher, and there is none")
    for side, model_info in (("student", student), ("teacher", teacher)):
        if model_info and f"{side}_embedding" in term.required and model_info.head is None:
            raise UserError(
                f"term '{term.name}' reads the embedding of {model_info.name}, which has no single linear classifier"
            )
    pairs = _layer_pairs(term, student, teacher) if teacher and term.uses_features else []
    built = BuiltTerm(nn.ModuleList(), [pair[0] for pair in pairs], [pair[1] for pair in pairs])
    loss = term.loss if isinstance(term.loss, nn.Module) else Function(term.loss)
    built.losses.extend(copy.deepcopy(loss) for _ in range(len(pairs) if term.pairwise else 1))
    for i, one in enumerate(built.losses):
        if isinstance(one, ShapeDependent):
            shapes = _shapes("student", student, built.student_layers, i)
            if teacher is not None:
                shapes |= _shapes("teacher", teacher, built.teacher_layers, i)
            shapes |= {"num_classes": student.logits[1], "num_samples": num_samples}
            try:
                one.build(**{name: shapes[name] for name in inspect.signature(one.build).parameters if name in shapes})
            except ValueError as error:
                raise UserError(f"term '{term.name}': {error}") from error
    return built


def _layer_pairs(term: Term, student: ModelInfo, teacher: ModelInfo) -> list[tuple[str, str]]:
    """Keys of the layers that the term compares: as configured, or all matching stages."""
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
    student_key = student.preactivation if term.preactivated("student") else student.layer
    teacher_key = teacher.preactivation if term.preactivated("teacher") else teacher.layer
    return [(student_key(s), teacher_key(t)) for s, t in pairs]


def _as_list(layers: Any) -> list[Any]:
    return [] if layers is None else list(layers) if isinstance(layers, (list, tuple)) else [layers]


def _shapes(side: str, model_info: ModelInfo, layers: list[str], i: int) -> dict[str, Any]:
    """Shapes of everything that the i-th loss of a term may read of one model."""
    shapes: dict[str, Any] = {f"{side}_logits": model_info.logits, f"{side}_embedding": model_info.embedding}
    if layers:
        features = [model_info.shape(key) for key in layers]
        shapes |= {f"{side}_feature": features[i], f"{side}_features": features, f"{side}_preactivations": features}
    return shapes
