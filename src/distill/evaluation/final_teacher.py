"""The last teacher of a run's student."""

from distill.distillation.ensemble import Ensemble
from distill.distillation.teacher import Teacher
from distill.evaluation.runs import Run
from distill.training.roles import TEACHER, TEACHERS, Role, RoleKind


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
    """The teacher with the role that :func:`final_teacher_role` returns.

    Args:
        run: the run.
        role: the teacher's.
        epoch: the student's, counted from 1: how several teachers are combined may follow a schedule.

    Raises:
        UserError: its weights are missing.
    """
    roles = [role] if role != TEACHERS else [each for each in run.roles if each.kind == RoleKind.TEACHER]
    models = [run.model(each) for each in roles]
    teachers = [Teacher(model.model, head=model.model_info.head) for model in models]
    if role != TEACHERS:
        return teachers[0]
    combined = run.flows.combine(len(teachers))(teachers)
    combined.start_epoch(epoch - 1, run.settings.trainer.max_epochs)
    return combined
