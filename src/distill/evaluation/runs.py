"""Opening a finished run: its models with their weights, its data, what it measured."""

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
    """What a run's summary says of its data: enough to build its models without them."""

    classes: tuple[str, ...]
    preprocess: Preprocess

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    @property
    def in_channels(self) -> int:
        """Channels of every image."""
        return self.preprocess.channels

    @property
    def image_size(self) -> int:
        """Height of every image in pixels."""
        return self.preprocess.height

    def example(self, n: int = 1) -> Tensor:
        """Noise in the shape of a batch."""
        return self.preprocess.example(n)


class Run(RunFolder):
    """A finished run. Its arguments, attributes and errors are those of :class:`RunFolder`.

    Attributes:
        preprocess: from one image to what the models take.
        data_facts: enough of the data to build models without them.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        try:
            self.preprocess = Preprocess(**self.summary.data.preprocess)
        except TypeError as error:
            raise unreadable(self.folder / FILE, error) from error
        self.data_facts = RecordedData(self.classes, self.preprocess)
        self.settings = schema.typed(self.config)
        self.flows = Flows(self.settings)

    @cached_property
    def data(self) -> DataModule:
        """The run's data, loaded again.

        Raises:
            UserError: they are not there, or are not the ones the run saw.
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
        cfg, wrapper = self.settings, self.settings.kd.student_wrapper
        net = self._built(cfg.model, "model", "the student")
        if wrapper:
            teacher = self._built(cfg.teacher, "teacher", "the teacher")
            net = wrap_student(wrapper, net, teacher, self.data_facts.example(4), cfg.channels_last)
        return self._loaded(net, self.weights)

    @cached_property
    def teacher(self) -> NamedModel | None:
        """The (first) teacher with its weights, in eval mode; None where the student learnt without.

        Raises:
            UserError: its weights are not where they were.
        """
        return self.model(TEACHER) if self.summary.teacher else None

    def model(self, role: Role) -> NamedModel:
        """Any model of the run but the student with its weights, in eval mode.

        Args:
            role: one of ``roles``, not the student's.

        Raises:
            UserError: its weights are not where they were.
        """
        config = self.flows.models()[str(role)]
        node, key = config.node, config.key
        who, result = f"the {role.label}", self.summary.models[role]
        if not isinstance(result, TeacherResult):
            subfolder = "" if role.kind == RoleKind.PEER else str(role)
            weights = self.folder / subfolder / result.last.weights
            if not weights.is_file():
                missing = weights.relative_to(self.folder)
                raise UserError(f"run {self.folder} has no {missing}: {who}'s weights are missing")
            return self._loaded(self._built(node, key, who), weights)
        net = self._built(node, key, who, pretrained=result.path is None)
        if result.path is None:
            net.model.eval()
            return net
        path = next((p for p in self._candidates(Path(result.path)) if p.is_file()), None)
        if path is None:
            raise UserError(f"{who} of run {self.folder} is not where it was: {result.path}")
        return self._loaded(net, path)

    def _candidates(self, path: Path) -> list[Path]:
        """Where a path that was relative to the folder of the command may be: here, or above the run's folder."""
        return [path] if path.is_absolute() else [path, *(parent / path for parent in self.folder.resolve().parents)]

    def _built(self, node: dict[str, Any], key: str, who: str, pretrained: bool = False) -> NamedModel:
        """A model of the run before it gets its weights, which are never fetched where others follow."""
        if "pretrained" in node and not pretrained:
            node = {**node, "pretrained": False}
        with torch.random.fork_rng(devices=[]):
            return build_model(node, key, who, self.data_facts, self.settings.channels_last)

    @staticmethod
    def _loaded(net: NamedModel, path: Path) -> NamedModel:
        load_weights(net.model, path, net.model_info.name)
        net.model.eval()
        return net


class Predictor(nn.Module):
    """A run's student with its preprocessing: what :func:`load` gives.

    Args:
        model: the student, in eval mode.
        preprocess: from one image to a tensor.
        classes: the classes' names.
    """

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
        values, best = self(inputs).float().softmax(1).max(1)
        return [(self.classes[i], float(p)) for i, p in zip(best.tolist(), values.tolist(), strict=True)]


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
