"""What a run measures: accuracies on validation and test, sizes, speeds.

A teacher's scores and the speeds of the same models are kept for the next job of a sweep in this process.
"""

import json
from typing import Any

import torch

from distill.distillation.criterion import Criterion
from distill.distillation.ensemble import Ensemble
from distill.distillation.model_info import NamedModel
from distill.distillation.teacher import Teacher
from distill.distillation.teacher_cache import digest
from distill.tasks.image_classification import ImageClassification
from distill.training.evaluation_module import EvaluationModule
from distill.training.plan import Experiment
from distill.training.roles import Role
from distill.training.summary import Measured, Scores
from distill.training.trainer import EVALUATION
from distill.utils.precision import HALF
from distill.utils.profiling import size, speed


def evaluation_module(
    net: NamedModel, experiment: Experiment, teacher: Teacher | Ensemble | None = None
) -> EvaluationModule:
    """A module that only evaluates a model."""
    return EvaluationModule(net.model, Criterion(), ImageClassification(experiment.data.num_classes), teacher)


def evaluate(module: EvaluationModule, experiment: Experiment, split: str) -> Scores:
    """Metrics and loss terms on "val" or "test", by their names without the split."""
    data, trainer = experiment.data, experiment.make_evaluator()
    if split == "test":
        results = trainer.test(module, dataloaders=data.test_dataloader(), verbose=False)
    else:
        results = trainer.validate(module, dataloaders=data.val_dataloader(), verbose=False)
    return Scores({key.partition("/")[2]: value for key, value in results[0].items()})


def evaluate_val_and_test(module: EvaluationModule, experiment: Experiment) -> dict[str, Scores]:
    """Metrics on validation and test."""
    return {split: evaluate(module, experiment, split) for split in ("val", "test")}


_scores: dict[str, Scores] = {}  # of teachers, for the next job of a sweep in this process
_measured: dict[str, dict[Role, Measured]] = {}  # likewise, of all models of a job


def _same(experiment: Experiment, *what: Any) -> str:
    """A key that is equal where an evaluation or a measurement would give the same."""
    how = [experiment.precision, experiment.settings.channels_last, torch.get_num_threads()]
    return json.dumps([*how, *what], sort_keys=True, default=str)


def _shapes(net: NamedModel) -> list[Any]:
    """Of its weights: a model prints its modules, and no parameter of its own."""
    return [(name, list(tensor.shape), tensor.dtype) for name, tensor in net.model.state_dict().items()]


def teacher_scores(net: NamedModel, experiment: Experiment, split: str) -> Scores:
    """Metrics of a teacher on "val" or "test"; the job before of a sweep may have computed them."""
    trainer = {name: getattr(experiment.settings.trainer, name) for name in EVALUATION}
    key = _same(
        experiment,
        digest(net.model),
        experiment.data.fingerprint,
        experiment.data.evaluation_batch_size,
        trainer,
        split,
    )
    if key not in _scores:
        _scores[key] = evaluate(evaluation_module(net, experiment), experiment, split)
    return Scores(_scores[key])


def measure(nets: dict[Role, NamedModel], experiment: Experiment) -> dict[Role, Measured]:
    """Size and speed of every model, on the device and at the batch size of the training.

    Models of the same modules were perhaps measured by the job before of a sweep.
    """
    data = experiment.data
    modules = {str(role): [net.name, repr(net.model), _shapes(net)] for role, net in nets.items()}
    key = _same(experiment, modules, list(data.example(1).shape), data.batch_size, vars(experiment.settings.trainer))
    if key not in _measured:
        _measured.clear()
        _measured[key] = _measured_now(nets, experiment)
    return _measured[key]


def _measured_now(nets: dict[Role, NamedModel], experiment: Experiment) -> dict[Role, Measured]:
    data = experiment.data
    device = experiment.make_evaluator().strategy.root_device
    sizes = {role: size(net.model.cpu(), data.example(1)) for role, net in nets.items()}
    autocast = HALF.get(experiment.precision)
    batch = data.example(data.batch_size).to(device)
    speeds = speed({str(role): net.model for role, net in nets.items()}, batch, device, autocast)
    return {role: Measured(name=net.name, size=sizes[role], speed=speeds[str(role)]) for role, net in nets.items()}
