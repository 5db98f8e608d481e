"""Whom the student of a run learnt from, opened again."""

from distill.distillation.ensemble import Ensemble
from distill.distillation.model_info import NamedModel
from distill.distillation.teacher import Teacher
from distill.evaluation.runs import Run
from distill.training.builder import combiner


def _teacher(net: NamedModel) -> Teacher:
    return Teacher(net.model, head=net.model_info.head)


def final_teacher_role(run: Run) -> str | None:
    """Who taught the student last: the run's agreement is with it.

    Returns:
        "teacher"; "teachers", where several were combined; the last of a chain ("assistant_1", "generation_2"); in
        mutual learning "peer_1"; None where the student learnt alone.
    """
    if "peer_1" in run.roles:
        return "peer_1"
    between = [role for role in run.roles if role.startswith(("assistant", "generation"))]
    if between:
        return between[-1]
    if "teacher_2" in run.roles:
        return "teachers"
    return "teacher" if "teacher" in run.roles else None


def final_teacher(run: Run, role: str, epoch: int) -> Teacher | Ensemble:
    """The one that :func:`tutor_role` names.

    Args:
        run: the run.
        role: what :func:`tutor_role` gave.
        epoch: of the student, counted from 1, where the combination of several teachers follows a schedule.

    Raises:
        UserError: its weights are not where they were.
    """
    if role != "teachers":
        return _teacher(run.model(role))
    roles = [role for role in run.roles if role.startswith("teacher")]
    made = combiner(run.config, len(roles))([_teacher(run.model(role)) for role in roles])
    made.start_epoch(epoch - 1, run.config["trainer"]["max_epochs"])
    return made
