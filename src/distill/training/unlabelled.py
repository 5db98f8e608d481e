"""What a run without labels cannot have; refused before anything is loaded or trained."""

from collections.abc import Sequence

from distill.config.schema import KDConfig, Node
from distill.distillation.term_builder import check_term
from distill.distillation.terms import Term
from distill.tasks.base import Task
from distill.utils.errors import UserError


def check(kd: KDConfig, terms: Sequence[Term], task: Task) -> None:
    """Raises a UserError for a criterion that needs labels, or has nothing to learn from."""
    for term in terms:
        check_term(term, task)
    without = f"task={task.info.name} has no labels"
    if not terms:
        raise UserError(f"{without}, and kd has no term that learns from a teacher: kd=embedding has")
    if kd.alpha not in (None, 0):
        raise UserError(f"kd.alpha={kd.alpha} weighs the loss on labels, and {without}: set it to 0")
    if kd.label_smoothing:
        raise UserError(f"kd.label_smoothing={kd.label_smoothing} smooths labels, and {without}: set it to 0")
    if kd.student_wrapper:
        raise UserError(f"kd.student_wrapper puts the teacher's classifier to use, and {without}: take it out of kd")
    if kd.peers:
        raise UserError(f"kd.peers lets untrained models teach each other, and {without} that would keep them apart")


def check_teacher(node: Node, key: str, epochs: int, task: Task) -> None:
    """Raises a UserError for a teacher that would have to be trained, or knows nothing."""
    if node.get("checkpoint"):
        return
    is_taken = bool(node.get("pretrained"))
    given = f"set {key}.pretrained=true or give {key}.checkpoint=<file>"
    if epochs:
        raise UserError(f"{key}.recipe.max_epochs={epochs} trains a teacher, and task={task.info.name} has no labels: "
                        f"leave it out{'' if is_taken else f', and {given}'}")  # fmt: skip
    if not is_taken:
        raise UserError(f"task={task.info.name} has no labels to train a teacher with: {given}")
