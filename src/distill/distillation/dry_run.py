"""One evaluation of a built criterion on a few samples, before any training."""

import torch

from distill.data import Batch
from distill.distillation.criterion import Criterion
from distill.distillation.feature_extractor import extract
from distill.distillation.model_info import NamedModel
from distill.utils.errors import UserError, first_line
from distill.utils.modes import evaluating


def dry_run(criterion: Criterion, student: NamedModel, teacher: NamedModel | None, example: torch.Tensor) -> None:
    """Evaluates every term once, its pretraining too, so that one that cannot work shows early.

    Models and criterion stay as they were.

    Args:
        criterion: built.
        student: as built.
        teacher: as built; None where there is none.
        example: a few inputs.

    Raises:
        UserError: a term that fails, or gives anything but one number.
    """
    n = len(example)
    batch = Batch(example, torch.arange(n) % student.model_info.logits[1], torch.arange(n))
    if teacher is not None:
        criterion.calibrate(teacher.model, teacher.model_info)
    student_outputs, teacher_outputs = (
        extract(net.model, criterion.extracted_layers(side), example, net.model_info.head) if net is not None else None
        for side, net in (("student", student), ("teacher", teacher))
    )
    assert student_outputs is not None
    with evaluating(criterion):  # adapters have running statistics
        for term in criterion.terms:
            for phase in [None, term.name] if term.pretraining else [None]:
                criterion.pretraining_term = phase
                try:
                    value = criterion.term(term, student_outputs, teacher_outputs, batch)
                except UserError:
                    raise
                except Exception as error:
                    raise UserError(f"term '{term.name}' fails on a batch of {n}: {first_line(error)}") from error
                if not isinstance(value, torch.Tensor) or value.dim() != 0:
                    got = f"shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
                    raise UserError(
                        f"term '{term.name}' must give one number as a tensor without dimensions, got {got}"
                    )
    criterion.pretraining_term = None
