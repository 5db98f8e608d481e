"""What a task measures of finished models, beside the scores of their test."""

from collections.abc import Mapping

import lightning.pytorch as L
import torch
from torch import nn

from distill.distillation.model_info import NamedModel
from distill.training.builder import build_model
from distill.training.plan import Experiment
from distill.training.roles import STUDENT, Role
from distill.training.summary import ModelResult


def add_final_scores(
    results: Mapping[Role, ModelResult], models: Mapping[Role, NamedModel], experiment: Experiment
) -> None:
    """Adds the task's final scores to the test scores of every model."""

    def fresh() -> nn.Module:
        settings = experiment.settings
        node = {key: value for key, value in settings.model.items() if key != "pretrained"}
        with torch.random.fork_rng(devices=[]):
            L.seed_everything(settings.seed, workers=True, verbose=False)
            return build_model(
                node, "model", "the student", experiment.data, experiment.task, settings.channels_last
            ).model

    for role, net in models.items():
        scores = experiment.task.final_scores(net.model, fresh if role == STUDENT else None)
        results[role].test.update(scores)
