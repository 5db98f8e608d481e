"""A model without its classifier: its output is the embedding (N, D) that the classifier read."""

from typing import Any

import torch
from torch import nn

from distill.distillation.feature_extractor import extract
from distill.distillation.inspection import inspect_model
from distill.distillation.model_info import ModelInfo
from distill.models.interface import remove_hooks
from distill.utils.errors import UserError


def take_off_classifier(
    model: nn.Module, model_info: ModelInfo, example: Any, num_classes: int, training: bool | int = False
) -> ModelInfo:
    """Puts an identity in the place of a model's classifier; what is left keeps its names.

    Args:
        model: changed in place.
        model_info: of the whole model.
        example: a batch of inputs.
        num_classes: of which it was asked for so many; a model may have others.
        training: see :func:`~distill.distillation.inspection.inspect_model`.

    Returns:
        The model's layers now; ``head`` is the path of the identity, whose input is the embedding.

    Raises:
        UserError: no linear classifier gives the model's output.
    """
    head, name = model_info.head, model_info.name
    if head is None or not (model_info.logits[1] == num_classes or _gives_output(model, head, example)):
        raise UserError(
            f"{name} has no linear classifier at its end, whose input would be its embedding: "
            "let its last layer be an nn.Linear, with any number of outputs"
        )
    model.set_submodule(head, nn.Identity())
    remove_hooks(model)  # of its logits
    found = inspect_model(model, example, name, training=training, head=head)
    if found.embedding != found.logits:
        raise UserError(f"{name} gives {found.logits} without its classifier, which read {found.embedding}")
    return found


def _gives_output(model: nn.Module, path: str, example: Any) -> bool:
    """Whether a layer's output is the model's; the last convolution of a model without a classifier gives another."""
    outputs = extract(model, [path], example)
    return torch.equal(outputs.features[path].flatten(1), outputs.logits)
