"""A finished run's models with their weights, and its data."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distill.config import schema
from distill.data import DataModule, Preprocess
from distill.distillation.model_info import NamedModel
from distill.evaluation.run_folder import RunFolder
from distill.training.builder import build_model, load_data, wrap_student
from distill.training.flows import Flows
from distill.training.roles import TEACHER, Role, RoleKind
from distill.training.summary import FILE, TeacherResult, unreadable
from distill.utils.checkpoints import load_weights
from distill.utils.errors import UserError


@dataclass(frozen=True)
class RecordedData:
    """The facts of a run's data that its models are built from, without the data themselves."""

    num_classes: int
    in_channels: int
    image_size: int
    example: Callable[[int], Tensor]  # a batch of noise


class Run(RunFolder):
    """A finished run; see :class:`RunFolder` for its arguments, attributes and errors.

    Attributes:
        preprocess: of one image.
        settings: the run's configuration.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        try:
            self.preprocess = Preprocess(**self.summary.data.preprocess)
        except TypeError as error:
            raise unreadable(self.folder / FILE, error) from error
        preprocess = self.preprocess
        self._data_facts = RecordedData(len(self.classes), preprocess.channels, preprocess.height, preprocess.example)
        self.settings = schema.typed(self.config)
        self.flows = Flows(self.settings)

    @cached_property
    def data(self) -> DataModule:
        """The run's data, loaded again.

        Raises:
            UserError: they are missing, or differ from those of the run.
        """
        data = load_data(self.settings.data, self.settings.seed)
        if data.fingerprint != self.summary.data.fingerprint:
            raise UserError(
                f"the data are not those of run {self.folder}: they or their settings have changed since "
                f"(data={self.summary.data.name})"
            )
        return data

    @cached_property
    def student(self) -> NamedModel:
        """The student as it is deployed, with its weights, in eval mode.

        Raises:
            UserError: the weights do not fit, or cannot be read.
        """
        settings, wrapper = self.settings, self.settings.kd.student_wrapper
        student = self._build(settings.model, "model", "the student")
        if wrapper:
            teacher = self._build(settings.teacher, "teacher", "the teacher")
            student = wrap_student(wrapper, student, teacher, self.preprocess.example(4), settings.channels_last)
        return _with_weights(student, self.weights)

    @cached_property
    def teacher(self) -> NamedModel | None:
        """The (first) teacher with its weights, in eval mode; None where there was none.

        Raises:
            UserError: its weights are missing.
        """
        return self.model(TEACHER) if self.summary.teacher else None

    def model(self, role: Role) -> NamedModel:
        """A model of the run other than the student, with its weights, in eval mode.

        Raises:
            UserError: its weights are missing.
        """
        config, name, result = self.flows.models()[str(role)], f"the {role.label}", self.summary.models[role]
        if isinstance(result, TeacherResult):
            model = self._build(config.node, config.key, name, pretrained=result.path is None)
            if result.path is None:
                model.model.eval()
                return model
            # a relative path starts in the folder of the training command: here, or above the run's folder
            folders = (Path(), *self.folder.resolve().parents)
            path = next((p for p in (folder / result.path for folder in folders) if p.is_file()), None)
            if path is None:
                raise UserError(f"{name} of run {self.folder} is not where it was: {result.path}")
            return _with_weights(model, path)
        folder = self.folder if role.kind == RoleKind.PEER else self.folder / str(role)
        path = folder / result.last.weights
        if not path.is_file():
            missing = path.relative_to(self.folder)
            raise UserError(f"run {self.folder} has no {missing}: {name}'s weights are missing")
        return _with_weights(self._build(config.node, config.key, name), path)

    def _build(self, node: dict[str, Any], key: str, name: str, pretrained: bool = False) -> NamedModel:
        """A model of the run without its weights; pretrained ones are fetched only if ``pretrained``."""
        if "pretrained" in node and not pretrained:
            node = {**node, "pretrained": False}
        with torch.random.fork_rng(devices=[]):
            return build_model(node, key, name, self._data_facts, self.settings.channels_last)


def _with_weights(model: NamedModel, path: Path) -> NamedModel:
    load_weights(model.model, path, model.model_info.name)
    model.model.eval()
    return model


class Predictor(nn.Module):
    """A run's student (in eval mode) with its preprocessing and the names of its classes."""

    def __init__(self, model: nn.Module, preprocess: Preprocess, classes: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.preprocess = preprocess
        self.classes = classes

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (N, C) of a preprocessed batch."""
        logits: Tensor = self.model(inputs)
        return logits

    @torch.inference_mode()
    def predict(self, images: list[Any]) -> list[tuple[str, float]]:
        """Class and probability of each PIL image (or tensor C×H×W)."""
        device = next(self.model.parameters()).device
        inputs = torch.stack([self.preprocess(image) for image in images]).to(device)
        probabilities, predicted = self(inputs).float().softmax(1).max(1)
        return [(self.classes[i], p) for i, p in zip(predicted.tolist(), probabilities.tolist(), strict=True)]


def load(path: str | Path) -> Predictor:
    """The student of a finished run, ready for use.

    Args:
        path: the run's folder, or a weights file in it.

    Raises:
        UserError: see :class:`Run`.

    Example:
        >>> import distill
        >>> model = distill.load("outputs/2026-11-24/10-00-00")  # doctest: +SKIP
        >>> model.predict([image])  # doctest: +SKIP
        [('cat', 0.93)]
    """
    run = Run(path)
    return Predictor(run.student.model, run.preprocess, run.classes)
