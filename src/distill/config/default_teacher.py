"""The teacher of a student for whom none was chosen, and whether a student is made of its teacher."""

from typing import Any

from distill.config.signatures import reads

TEACHERS = {
    "resnet8": "resnet20",
    "resnet14": "resnet32",
    "resnet20": "resnet56",
    "resnet32": "resnet110",
    "resnet44": "resnet110",
    "resnet56": "resnet110",
    "resnet110": "resnet32x4",
    "resnet8x4": "resnet32x4",
    "resnet32x4": "resnet50",
    "wrn_16_1": "wrn_40_1",
    "wrn_40_1": "wrn_40_2",
    "wrn_16_2": "wrn_40_2",
    "wrn_40_2": "resnet32x4",
    "vgg8": "vgg13",
    "vgg13": "resnet50",
    "mobilenetv2": "vgg13",
    "shufflenetv1": "resnet32x4",
    "shufflenetv2": "resnet32x4",
    "resnet18": "resnet34",
    "resnet34": "resnet50",
    "resnet50": "resnet50",
    "timm": "resnet34",
    "torchvision": "resnet34",
    "unet_tiny": "unet",
    "unet": "unet",
    "lraspp": "deeplabv3",
    "deeplabv3": "deeplabv3",
    "segformer": "deeplabv3",
    "hf": "hf",
    "from_teacher": "hf",
    "bert_tiny": "hf",
    "bert_mini": "hf",
    "bert_small": "hf",
}
"""Larger models of the student's family where there is one; most pairs are those of Tian et al. 2020
(arXiv:1910.10699)."""


def default_teacher(student: str) -> str:
    """The option of the group ``teacher`` for an option of the group ``model``; of a user's own model, resnet20."""
    return TEACHERS.get(student, "resnet20")


def starts_from_teacher(cfg: Any) -> bool:
    """Whether a student gets weights of its trained teacher, which is then needed even where no term reads it.

    Args:
        cfg: the typed configuration.
    """
    node = cfg.model
    return node["_target_"] == "distill.models.from_teacher" and bool(node.get("pretrained", True)) and not cfg.init


def is_alone(cfg: Any) -> bool:
    """Whether a configuration trains its student without any teacher.

    No term reads one (there is none with ``kd=none``, and that of ``kd=tfkd`` designs its own), and no model is made
    of one.

    Args:
        cfg: the typed configuration.
    """
    kd = cfg.kd
    taught = kd.teachers or kd.assistants or kd.ensemble or kd.flow or kd.student_wrapper
    taught = taught or any(_may_read_teacher(term.loss) for term in kd.terms.values())
    return not taught and cfg.only is None and cfg.model["_target_"] != "distill.models.from_teacher"


def _may_read_teacher(loss: Any) -> bool:
    """Whether a loss reads a teacher, or its class is not known well enough to tell."""
    names = reads(str(loss.get("_target_")))
    return names is None or any(name.startswith("teacher_") for name in names)
