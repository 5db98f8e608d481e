"""Building a term against a student and a teacher: matches layers, copies the loss, creates what depends on shapes."""

import copy
import inspect
from collections.abc import Sequence

import torch
from torch import nn

from distill.distillation.model_info import ModelInfo
from distill.distillation.stage_matching import stage_pairs
from distill.distillation.terms import FROM_LAYERS, Function, Layers, Term
from distill.losses.protocols import ShapeDependent, TakesTokens
from distill.tasks.base import Task
from distill.utils.errors import UserError

Shapes = tuple[int, ...] | list[tuple[int, ...]] | int | None


def build_term(
    term: Term, student: ModelInfo, teacher: ModelInfo | None, num_samples: int | None, task: Task | None = None
) -> tuple[list[nn.Module], list[tuple[str, str]]]:
    """Resolve a term's layers and build a copy of its loss for each pair of them; see :meth:`Criterion.build`.

    Returns:
        One loss per pair of layers if the term is pairwise, else one; the keys of the layers of student and teacher.
    """
    if task is not None:
        check_term(term, task)
    if teacher is None and term.needs_teacher:
        raise UserError(f"term '{term.name}' needs a teacher, and there is none")
    for side, model_info in (("student", student), ("teacher", teacher)):
        if model_info and f"{side}_embedding" in term.required and model_info.head is None:
            raise UserError(
                f"term '{term.name}' reads the embedding of {model_info.name}, which has no single linear classifier"
            )
    reads_layers = teacher is not None and term.uses_features
    if reads_layers and student.attention and not (isinstance(term.loss, TakesTokens) and term.loss.takes_tokens):
        raise UserError(
            f"term '{term.name}' compares maps of images, and the layers of {student.name} give tokens, some of them "
            "padding: kd=hidden, minilm and pkd leave that out"
        )
    pairs = _layer_pairs(term, student, teacher) if teacher and term.uses_features else []
    prototype = term.loss if isinstance(term.loss, nn.Module) else Function(term.loss)
    losses = [copy.deepcopy(prototype) for _ in range(len(pairs) if term.pairwise else 1)]
    for i, loss in enumerate(losses):
        if isinstance(loss, ShapeDependent):
            shapes = _shapes("student", student, [key for key, _ in pairs], i, task)
            if teacher is not None:
                shapes |= _shapes("teacher", teacher, [key for _, key in pairs], i, task)
            classes = _row_shape(student.logits, task)
            shapes |= {"num_classes": (classes or student.logits)[-1], "num_samples": num_samples}
            names = [name for name in inspect.signature(loss.build).parameters if name in shapes]
            try:
                loss.build(**{name: shapes[name] for name in names})
            except ValueError as error:
                raise UserError(f"term '{term.name}': {error}") from error
    return losses, pairs


def check_term(term: Term, task: Task) -> None:
    """Raises a UserError for a term that makes no sense in a task."""
    refusal = task.refusal(term)
    if refusal:
        raise UserError(f"term '{term.name}' cannot be used with task={task.info.name}: {refusal}")


def _layer_pairs(term: Term, student: ModelInfo, teacher: ModelInfo) -> list[tuple[str, str]]:
    """Keys of the layers that the term compares: as configured, or all matching stages."""
    left, right = _as_list(term.student), _as_list(term.teacher)
    if any(name.endswith("_attention") for name in term.all_reads):
        if max(len(left), len(right)) > 1:
            raise UserError(f"term '{term.name}' reads the attention of one layer on either side, got {left}, {right}")
        mine, taught_by = (layers[0] if layers else -1 for layers in (left, right))
        return list(zip(student.projections(mine), teacher.projections(taught_by), strict=True))
    if not left and not right:
        pairs: Sequence[tuple[int | str, int | str]] = stage_pairs(student, teacher, term.name)
    elif not left or len(left) != len(right):
        raise UserError(
            f"term '{term.name}' needs as many student layers as teacher layers, "
            f"got kd.terms.{term.name}.student={term.student} and .teacher={term.teacher}"
        )
    else:
        pairs = list(zip(left, right, strict=True))
    student_key = student.preactivation if "student_preactivations" in term.all_reads else student.layer
    teacher_key = teacher.preactivation if "teacher_preactivations" in term.all_reads else teacher.layer
    return [(student_key(s), teacher_key(t)) for s, t in pairs]


def _as_list(layers: Layers) -> list[int | str]:
    if layers is None:
        return []
    return list(layers) if isinstance(layers, (list, tuple)) else [layers]


def _row_shape(output: tuple[int, ...], task: Task | None) -> tuple[int, ...] | None:
    """Shape of the rows of logits of an output of this shape; None where the task has none."""
    if task is None:
        return output
    rows = task.rows(torch.empty(output))
    return None if rows is None else tuple(rows.shape)


def _shapes(side: str, model_info: ModelInfo, layers: list[str], i: int, task: Task | None) -> dict[str, Shapes]:
    """Shapes of everything that the i-th loss of a term may read of one model."""
    shapes: dict[str, Shapes] = {
        f"{side}_logits": _row_shape(model_info.logits, task),
        f"{side}_output": model_info.logits,
        f"{side}_embedding": model_info.embedding,
    }
    if layers:
        features = [model_info.shape(key) for key in layers]
        shapes |= {**{f"{side}_{name}": features for name in FROM_LAYERS}, f"{side}_feature": features[i]}
    return shapes
