"""How many CPU threads a training is given: all cores where that is faster at the moment, else one."""

import logging
import os
import time

import torch
from omegaconf import OmegaConf

from distill.config.command_line import read_yaml
from distill.training.plan import Experiment, TrainingStage
from distill.training.timing import Step
from distill.utils.atomic import write_text
from distill.utils.precision import uses_cuda
from distill.utils.processes import busy_cores, is_rank_zero, usable_cores
from distill.utils.profiling import size

log = logging.getLogger(__name__)

SMALL_STEP = 1e9  # multiply-accumulates of a training step, below which threads mostly wait for one another
MACS = 5e8  # of a timed step, at most
SECONDS = 0.4  # of all of them; never less than LEAST_ROUNDS
LEAST_ROUNDS = 3
HOPELESS = 2  # times slower in the first steps: no more of them
GAIN = 1.1  # how much faster all cores must be


def _macs(stage: TrainingStage) -> int:
    models = [net.model for net in (stage.student, *stage.peers)]
    return max(size(model, stage.data.example(1)).macs for model in models)


def compare(step: Step, several: int, seconds: float = SECONDS) -> tuple[float, float]:
    """The mean seconds of a step with one thread and with several, taken in turn: a busy machine slows both."""
    before, end = torch.get_num_threads(), time.perf_counter() + seconds
    times: list[tuple[float, float]] = []
    while len(times) <= LEAST_ROUNDS or time.perf_counter() < end:
        times.append((_seconds(step, 1), _seconds(step, several)))
        if len(times) == 1 and times[0][1] > HOPELESS * times[0][0]:
            break
    torch.set_num_threads(before)
    counted = times[1:] or times  # the first round warms up
    one, all_of_them = (sum(column) / len(counted) for column in zip(*counted, strict=True))
    return one, all_of_them


def _seconds(step: Step, count: int) -> float:
    torch.set_num_threads(count)
    return step.seconds()


def choose(experiment: Experiment) -> tuple[int, str]:
    """The number of threads, and why.

    One where every step is small, or other processes need the cores: threads that wait for one another are then
    several times slower. Else all cores of this process's share, where a few steps of the largest training gain by it.
    """
    stages = [stage for stage in (*experiment.teachers, *experiment.stages) if stage.max_epochs]
    largest = max(stages, key=_macs, default=None)
    if largest is None or 3 * _macs(largest) * experiment.data.batch_size < SMALL_STEP:
        return 1, "the steps are small"
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    share = max(1, usable_cores() // processes)
    if share == 1 or processes > 1 or uses_cuda(experiment.settings.trainer.accelerator):
        return share, "this process's share of the cores"
    cores = os.cpu_count() or share
    if (busy := busy_cores()) > cores - share:
        return 1, f"others use {busy} of {cores} cores"
    one, several = compare(Step(largest, MACS), share)
    return share if several * GAIN < one else 1, f"{1e3 * one:.0f} ms a step with one, {1e3 * several:.0f} with {share}"


def settle(configured: int | None, experiment: Experiment) -> None:
    """Sets the number of CPU threads; the run's folder keeps what was chosen, as it changes bits."""
    count, why = (configured, "as asked") if configured else choose(experiment)
    torch.set_num_threads(count)
    log.debug(f"threads: {count} ({why})")
    file = experiment.folder / "config.yaml"
    if not configured and is_rank_zero() and file.is_file():
        recorded = OmegaConf.create(read_yaml(file))  # without what a resumed run settles anew
        recorded["threads"] = count
        write_text(file, OmegaConf.to_yaml(recorded))
