"""Models from the configuration, checked against the data by a dry forward."""

import torch

from distill.config.instantiate import instantiate
from distill.config.schema import Node
from distill.config.validation import TEACHER_KEYS
from distill.distillation.model_info import ModelInfo, NamedModel, inspect_model
from distill.tasks.image_classification import ImageClassification, ImageData
from distill.utils.errors import UserError


def build_model(node: Node, key: str, who: str, data: ImageData, channels_last: bool) -> NamedModel:
    """A model that fits the data, and what a dry forward sees of it.

    Args:
        node: its configuration.
        key: the node's dotted key.
        who: how error messages call it ("the teacher"); its name follows.
        data: what it must fit.
        channels_last: memory format.

    Raises:
        UserError: a node that makes no model, or one that does not fit the data.
    """
    arguments = {k: value for k, value in node.items() if k not in TEACHER_KEYS}
    num_classes = arguments.get("num_classes")
    if num_classes is not None and num_classes != data.num_classes:
        raise UserError(
            f"{key}.num_classes={num_classes} disagrees with the data, which have {data.num_classes} classes"
        )
    model = instantiate(arguments, key, **ImageClassification.model_arguments(data))
    if not isinstance(model, torch.nn.Module):
        raise UserError(f"{key}: {node['_target_']} gave a {type(model).__name__}, not a torch.nn.Module")
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    name = str(arguments.get("name") or arguments["_target_"].rpartition(".")[2])
    model_info: ModelInfo = inspect_model(model, data.example(4), f"{who} {name}")
    if model_info.logits[1] != data.num_classes:
        raise UserError(
            f"{model_info.name} gives {model_info.logits[1]} logits, and the data have {data.num_classes} classes"
        )
    return NamedModel(name, model, model_info)


def wrap_student(
    node: Node | None, student: NamedModel, teacher: NamedModel | None, example: torch.Tensor, channels_last: bool
) -> NamedModel:
    """The student inside ``kd.student_wrapper``, where the strategy changes the model itself (SimKD).

    Args:
        node: ``kd.student_wrapper``; None: the student stays as it is.
        student: as built.
        teacher: as built.
        example: a few inputs.
        channels_last: memory format.

    Raises:
        UserError: there is no teacher, or the wrapper cannot join the two.
    """
    if not node:
        return student
    if teacher is None:
        raise UserError("kd.student_wrapper needs a teacher, and there is none")
    wrapper = instantiate(node, "kd.student_wrapper")
    try:
        model = wrapper(student.model, student.model_info, teacher.model, teacher.model_info, example)
    except ValueError as error:
        raise UserError(f"kd.student_wrapper: {error}") from error
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    return NamedModel(student.name, model, inspect_model(model, example, student.model_info.name))
