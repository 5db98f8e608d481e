"""The teacher that a run's student learnt from last, opened again."""

from distill.distillation.ensemble import Ensemble
from distill.distillation.model_info import NamedModel
from distill.distillation.teacher import Teacher
from distill.evaluation.runs import Run
from distill.training.roles import TEACHER, TEACHERS, Role, RoleKind


def _teacher(net: NamedModel) -> Teacher:
    return Teacher(net.model, head=net.model_info.head)


def final_teacher_role(run: Run) -> Role | None:
    """The role of the model that taught the student last; the run's agreement is with it.

    Returns:
        The first peer in mutual learning; else the last assistant or generation of a chain; else the teacher, or
        ``TEACHERS`` where several were combined; None where the student learnt alone.
    """
    if Role(RoleKind.PEER) in run.roles:
        return Role(RoleKind.PEER)
    chain = [role for role in run.roles if role.kind in (RoleKind.ASSISTANT, RoleKind.GENERATION)]
    if chain:
        return chain[-1]
    teachers = [role for role in run.roles if role.kind == RoleKind.TEACHER]
    return TEACHERS if len(teachers) > 1 else TEACHER if teachers else None


def final_teacher(run: Run, role: Role, epoch: int) -> Teacher | Ensemble:
    """The teacher that :func:`final_teacher_role` names.

    Args:
        run: the run.
        role: what :func:`final_teacher_role` gave.
        epoch: of the student, counted from 1, where the combination of several teachers follows a schedule.

    Raises:
        UserError: its weights are not where they were.
    """
    if role != TEACHERS:
        return _teacher(run.model(role))
    teachers = [_teacher(run.model(each)) for each in run.roles if each.kind == RoleKind.TEACHER]
    combined = run.flows.combine(len(teachers))(teachers)
    combined.start_epoch(epoch - 1, run.settings.trainer.max_epochs)
    return combined
