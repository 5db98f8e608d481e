"""One evaluation of a built criterion on a few samples, before any training."""

import torch

from distill.criterion import Criterion
from distill.data import Batch
from distill.errors import UserError, first_line
from distill.run import Net
from distill.taps import Tap


def rehearse(criterion: Criterion, student: Net, teacher: Net, example: torch.Tensor) -> None:
    """Evaluates every term once, so that one that cannot work shows early. Models and criterion stay as they were.

    Args:
        criterion: built.
        student: as built.
        teacher: as built.
        example: a few inputs.

    Raises:
        UserError: a term that fails, or gives anything but one number.
    """
    n = len(example)
    batch = Batch(example, torch.arange(n) % student.anatomy.logits[1], torch.arange(n))
    outputs = []
    for side, net in (("student", student), ("teacher", teacher)):
        tap = Tap(net.model.eval(), criterion.taps(side), net.anatomy.head)
        with torch.no_grad():
            outputs.append(tap(example))
        tap.remove()
        net.model.train()
    criterion.eval()  # adapters have running statistics
    for term in criterion.terms:
        try:
            with torch.no_grad():
                value = criterion.term(term, outputs[0], outputs[1], batch)
        except Exception as error:
            raise UserError(f"term '{term.name}' fails on a batch of {n}: {first_line(error)}") from error
        if not isinstance(value, torch.Tensor) or value.dim() != 0:
            got = f"shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
            raise UserError(f"term '{term.name}' must give one number as a tensor without dimensions, got {got}")
    criterion.train()
