"""The plan of a run, told before it begins: data, models, epochs, time."""

import logging

from distill.data.targets import counted
from distill.distillation.model_info import NamedModel
from distill.distillation.teacher_store import TeacherSource
from distill.training import estimate
from distill.training.plan import Experiment, TrainingStage
from distill.utils.precision import uses_cuda
from distill.utils.units import duration, short

log = logging.getLogger(__name__)


def plan_lines(experiment: Experiment) -> list[str]:
    """The plan in lines that begin with ``plan:``; on a CPU the last one estimates the time."""
    data, settings = experiment.data, experiment.settings
    sizes = ", ".join(f"{len(data.indices(split))} {split}" for split in ("train", "val", "test"))
    shape = data.described_shape
    targets = data.options.targets
    outputs = {"none": "no labels", "next_token": "the next token"}.get(targets) or counted(data.num_classes, targets)
    lines, seconds = [f"data {settings.data.name}: {sizes}; {outputs}, {shape}"], 0.0
    on_cpu = not uses_cuda(settings.trainer.accelerator)
    for stage in (*experiment.teachers, *experiment.stages):
        origin, batches = _origin(stage.source), _batches(stage, settings.trainer.limit_train_batches)
        lines.append(f"{stage.label} ({_parameters(stage.student)}): {origin or _training(stage, batches)}")
        lines += [f"peer {peer.name} ({_parameters(peer)}): likewise" for peer in stage.peers]
        if on_cpu and not origin:
            seconds += estimate.seconds(stage, batches)
    if seconds:
        lines.append(f"about {duration(seconds)} on this machine")
    return [f"plan: {line}" for line in lines]


def check_sizes(experiment: Experiment) -> None:
    """Warns of a student that is larger than its teacher: nothing is gained by it in size or speed."""
    if not (experiment.teachers and experiment.stages):
        return
    student, teacher = experiment.stages[-1].student, experiment.teachers[0].student
    if _count(student) > _count(teacher):
        log.warning(
            f"the student {student.name} ({_parameters(student)}) is larger than its teacher {teacher.name} "
            f"({_parameters(teacher)}): choose teacher= or model="
        )


def _count(net: NamedModel) -> int:
    return sum(parameter.numel() for parameter in net.model.parameters())


def _parameters(net: NamedModel) -> str:
    return f"{short(_count(net))} parameters"


def _batches(stage: TrainingStage, limit: int | float | None) -> int:
    """Of an epoch, with ``trainer.limit_train_batches``."""
    batches = len(stage.data.train_dataloader())
    if limit is None:
        return batches
    return min(batches, limit if isinstance(limit, int) else int(batches * limit))


def _training(stage: TrainingStage, batches: int) -> str:
    epochs = f"{stage.max_epochs} epoch{'s' * (stage.max_epochs != 1)}"
    length = f"{epochs} of {batches} batch{'es' * (batches != 1)} of {stage.data.batch_size}"
    return f"{length}, taught by {', '.join(net.name for net in stage.teachers)}" if stage.teachers else length


def _origin(source: TeacherSource | None) -> str:
    """Where a teacher comes from that is not trained; "" for one that is, and for a student."""
    if source is None:
        return ""
    if source.checkpoint is not None:
        return f"loaded from {source.checkpoint}"
    if source.max_epochs == 0:
        return "as it was built"
    return f"found in {source.folder}" if source.record.is_file() else ""
