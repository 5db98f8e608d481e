"""How long a training will take, from a few of its steps."""

from statistics import median

from distill.training.plan import TrainingStage
from distill.training.timing import Step

MACS = 1e10  # of a timed step, at most
ROUNDS = 3


def seconds(stage: TrainingStage, batches: int) -> float:
    """An estimate of a training's seconds on a CPU: the median of some steps after one to warm up.

    Args:
        stage: the training.
        batches: of an epoch.
    """
    step = Step(stage, MACS)
    times = [step.seconds() for _ in range(1 + ROUNDS)][1:]
    each = median(times) * stage.data.batch_size / step.samples + step.update_seconds()
    return stage.max_epochs * batches * each
