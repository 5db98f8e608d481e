"""A teacher cache filled without training: the teacher answers here, students learn elsewhere."""

import logging
import time

from distill.distillation.teacher import Teacher
from distill.training.plan import Experiment
from distill.utils.errors import UserError
from distill.utils.units import duration

log = logging.getLogger(__name__)


def fill(teacher: Teacher | None, experiment: Experiment) -> None:
    """Lets a teacher answer every row of every split once; what is there already is not computed.

    Raises:
        UserError: nothing is cached in this run.
    """
    stage = experiment.stages[-1]
    if teacher is None or stage.cache is None:
        raise UserError("cache.only fills the teacher cache, and nothing is cached here (kd=none, several processes)")
    device, begun = experiment.make_evaluator().strategy.root_device, time.perf_counter()
    teacher.to(device)
    teacher.start_epoch(0, stage.max_epochs)
    for split in ("train", "val", "test"):
        for batch in stage.data.evaluation_loader(split):
            teacher(stage.data.transfer_batch_to_device(batch, device, 0), split)
        teacher.flush()
    log.info(f"teacher cache: filled in {duration(time.perf_counter() - begun)}; cache.only=true trains nothing")
