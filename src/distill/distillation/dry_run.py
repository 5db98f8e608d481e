"""One evaluation of a built criterion on a few samples, before any training."""

from torch import Tensor

from distill.data import Batch
from distill.distillation.criterion import Criterion
from distill.distillation.feature_extractor import extract
from distill.distillation.model_info import NamedModel
from distill.models.outputs import Outputs
from distill.utils.errors import UserError, first_line
from distill.utils.modes import evaluating


def dry_run(criterion: Criterion, student: NamedModel, teacher: NamedModel | None, batch: Batch) -> None:
    """Evaluate every term of a built criterion once, its pretraining too, and the loss on labels.

    Models and criterion stay as they were.

    Raises:
        UserError: a term or the loss on labels fails, or a term gives anything but one number.
    """
    n = len(batch.index)
    if teacher is not None:
        criterion.calibrate(teacher.model, teacher.model_info)

    def outputs(net: NamedModel, side: str) -> Outputs:
        inputs = batch.inputs if side == "student" else batch.for_teacher
        return extract(net.model, criterion.extracted_layers(side), inputs, net.model_info.head)

    student_outputs = outputs(student, "student")
    teacher_outputs = outputs(teacher, "teacher") if teacher is not None else None
    if criterion.task is not None:
        try:
            criterion.hard(student_outputs, batch)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"the loss on labels fails on a batch of {n}: {first_line(error)}") from error
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
                if not isinstance(value, Tensor) or value.dim() != 0:
                    got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
                    raise UserError(
                        f"term '{term.name}' must give one number as a tensor without dimensions, got {got}"
                    )
    criterion.pretraining_term = None
