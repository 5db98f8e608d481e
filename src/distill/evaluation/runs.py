"""A finished run's models with their weights, and its data."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from omegaconf.errors import OmegaConfBaseException

from distill.config import own_code, schema, validation
from distill.config.trust import Trust, modules
from distill.data import DataModule, ImageDataModule, Preprocess
from distill.data.targets import UNLABELLED
from distill.data.text.kept import TEACHER_TOKENIZER, TOKENIZER
from distill.data.text.preprocess import TextPreprocess
from distill.distillation.model_info import NamedModel
from distill.evaluation.predictor import Predictor
from distill.evaluation.run_folder import RunFolder
from distill.tasks.base import Task
from distill.training.builder import build_model, build_task, wrap_student
from distill.training.flows import Flows
from distill.training.kept_files import config_folder
from distill.training.load_data import load_data
from distill.training.roles import STUDENT, TEACHER, Role, RoleKind
from distill.training.summary import FILE, TeacherResult, unreadable
from distill.utils.checkpoints import load_weights
from distill.utils.errors import UserError, first_line

# A run may be somebody else's.
LARGEST = {"classes": 1_000_000, "channels": 1024, "height": 16384, "width": 16384, "max_length": 1_000_000}


@dataclass(frozen=True)
class RecordedData:
    """The facts of a run's data that its models are built from, without the data themselves."""

    classes: Sequence[str]
    target_mean: Sequence[float] | None
    target_std: Sequence[float] | None
    preprocess: Preprocess | TextPreprocess

    @property
    def num_classes(self) -> int:
        """Outputs of a model."""
        return len(self.classes)

    @property
    def kind(self) -> str:
        """What the samples are."""
        return self.preprocess.kind

    def example(self, n: int) -> Any:
        """A batch of noise."""
        return self.preprocess.example(n)

    def model_arguments(self, output: str) -> dict[str, Any]:
        """What a model's constructor is told of the data."""
        names = {"class_names": list(self.classes)} if self.kind == "text" else {}
        return self.preprocess.model_arguments(output) | names


class Run(RunFolder):
    """A finished run; see :class:`RunFolder` for its other attributes and errors.

    Args:
        path: see :class:`RunFolder`.
        trust: modules of the user's own that the run's configuration may name, as in ``trust=``.
        code: their folder, as in ``code=``.

    Attributes:
        preprocess: of one image, or of texts.
        settings: the run's configuration.
    """

    def __init__(
        self, path: str | Path, trust: str | Sequence[str] | None = None, code: str | Path | None = None
    ) -> None:
        super().__init__(path)
        self.trust = modules(trust)
        self.code = None if code is None else str(code)
        own_code.check_folder(self.code)
        if self.trust:
            own_code.add(self.code or own_code.recorded(self.config, self.folder), ".")
        Trust(self.folder / FILE, self.trust).check(self.config)
        self.preprocess = self._recorded_preprocess()
        facts = self.summary.data
        self._data_facts = RecordedData(self.classes, facts.target_mean, facts.target_std, self.preprocess)
        try:
            self.settings = schema.typed(schema.checked(self.config))
        except OmegaConfBaseException as error:
            place = getattr(error, "full_key", None)
            raise unreadable(self.folder / FILE, f"config.{place}: {first_line(error)}") from error
        validation.present(self.settings)
        if self._kept(TOKENIZER):
            self.settings.data.tokenizer = self._kept(TOKENIZER)
            self.settings.data.teacher_tokenizer = self._kept(TEACHER_TOKENIZER) or self._kept(TOKENIZER)
        self.flows = Flows(self.settings)

    def _recorded_preprocess(self) -> Preprocess | TextPreprocess:
        """How the run's models are given a sample, checked: the record may be somebody else's."""
        recorded, file = self.summary.data.preprocess, self.folder / FILE
        try:
            is_text = recorded.get("kind") == "text"
            found = TextPreprocess.from_dict(recorded) if is_text else Preprocess(**recorded)
        except (TypeError, AttributeError) as error:
            raise unreadable(file, error) from error
        sizes = {"classes": len(self.classes)}
        sizes |= {key: getattr(found, key) for key in LARGEST if hasattr(found, key)}
        for key, size in sizes.items():
            least = 0 if key == "classes" and self.summary.data.targets in UNLABELLED else 1
            if not isinstance(size, int) or not least <= size <= LARGEST[key]:
                raise unreadable(file, f"{key} of its data is {size!r}, not in [{least}, {LARGEST[key]}]")
        if isinstance(found, TextPreprocess):
            found = replace(found, tokenizer=self._kept(TOKENIZER) or found.tokenizer)
        return found

    def _kept(self, name: str) -> str | None:
        """A folder of the run's own with a tokenizer, which is read in place of the original."""
        folder = (self.folder / name).absolute()
        return str(folder) if self.summary.data.tokenizer and folder.is_dir() else None

    @property
    def image_preprocess(self) -> Preprocess:
        """``preprocess`` of a run on images.

        Raises:
            UserError: its samples are no images.
        """
        if not isinstance(self.preprocess, Preprocess):
            raise UserError(f"run {self.folder} is of data={self.summary.data.name}: this is for runs on images")
        return self.preprocess

    @cached_property
    def task(self) -> Task:
        """What the run's models predict."""
        return build_task(self.settings.task, self._data_facts)

    @cached_property
    def data(self) -> DataModule[Any]:
        """The run's data, loaded again.

        Raises:
            UserError: they are missing, or differ from those of the run.
        """
        data = load_data(self.settings.data, self.settings.seed, targets=self.task.targets)
        if data.fingerprint != self.summary.data.fingerprint:
            raise UserError(
                f"the data are not those of run {self.folder}: they or their settings have changed since "
                f"(data={self.summary.data.name})"
            )
        return data

    @property
    def images(self) -> ImageDataModule:
        """``data`` of a run on images.

        Raises:
            UserError: its samples are no images.
        """
        _, data = self.image_preprocess, self.data
        assert isinstance(data, ImageDataModule)
        return data

    @cached_property
    def student(self) -> NamedModel:
        """The student as it is deployed, with its weights, in eval mode.

        Raises:
            UserError: the weights do not fit, or cannot be read.
        """
        settings, wrapper = self.settings, self.settings.kd.student_wrapper
        student = self._build(settings.model, "model", STUDENT)
        if wrapper:
            teacher = self._build(settings.teacher, "teacher", TEACHER)
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
        config, name, result = self.flows.models()[role], f"the {role.label}", self.summary.models[role]
        if isinstance(result, TeacherResult):
            model = self._build(config.node, config.key, role, pretrained=result.path is None)
            if result.path is None:
                model.model.eval()
                return model
            # a relative path starts in the folder of the training command: here, or above the run's folder
            folders = (Path(), *self.folder.resolve().parents)
            path = next((p for p in (folder / result.path for folder in folders) if p.is_file()), None)
            if path is None:
                raise UserError(f"{name} of run {self.folder} is not where it was: {result.path}")
            return _with_weights(model, path)
        path = self.file(*([] if role.kind == RoleKind.PEER else [str(role)]), result.kept.weights)
        if not path.is_file():
            missing = path.relative_to(self.folder)
            raise UserError(f"run {self.folder} has no {missing}: {name}'s weights are missing")
        return _with_weights(self._build(config.node, config.key, role), path)

    def _build(self, node: dict[str, Any], key: str, role: Role, pretrained: bool = False) -> NamedModel:
        """A model of the run without its weights; pretrained ones are fetched only if ``pretrained``."""
        if "pretrained" in node and not pretrained:
            node = {**node, "pretrained": False}
        kept = config_folder(self.folder, role).absolute()
        ours = isinstance(self.preprocess, TextPreprocess) and str(node["_target_"]).startswith("distill.models.")
        if ours and not pretrained and kept.is_dir():
            node = {"_target_": "distill.models.hf_model", "name": str(kept), "pretrained": False}
        who = f"the {role.label}"
        with torch.random.fork_rng(devices=[]):
            model = build_model(node, key, who, self._data_facts, self.task, self.settings.channels_last)
        recorded = self.summary.models.get(role)
        return model if recorded is None else replace(model, name=recorded.name)


def _with_weights(model: NamedModel, path: Path) -> NamedModel:
    load_weights(model.model, path, model.model_info.name, model.without)
    model.model.eval()
    return model


def load(path: str | Path, trust: str | Sequence[str] | None = None, code: str | Path | None = None) -> Predictor:
    """The student of a finished run, ready for use.

    Args:
        path: the run's folder, or a weights file in it; or a repository that ``distill push`` wrote to the Hugging Face
            Hub, ``user/name`` or ``user/name@revision``, where no folder ``user`` is here.
        trust: modules of your own that the run's configuration may name (``"my_models"``). All else that it names must
            be of this package, torch, torchvision, timm, transformers or Lightning, as a run may be somebody else's.
        code: the folder of those modules; None: the one that the run recorded, or the current folder.

    Raises:
        UserError: see :class:`Run`; an object that is not allowed.

    Example:
        >>> import distill
        >>> model = distill.load("outputs/2026-11-24/10-00-00")  # doctest: +SKIP
        >>> model.predict([image])  # doctest: +SKIP
        [('cat', 0.93)]
    """
    run = Run(path, trust, code)
    return Predictor(run.student.model, run.preprocess, run.classes, run.task)
