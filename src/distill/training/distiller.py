"""Distillation in a user's training script: any two models, any loader of (inputs, target), or of dicts with labels."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn

from distill.config.command_line import as_overrides
from distill.config.compose import ERRORS, compose
from distill.config.explain import explain
from distill.config.instantiate import instantiate
from distill.config.schema import KDConfig, TrainConfig, typed
from distill.config.validation import check
from distill.data import Batch
from distill.distillation.dry_run import dry_run
from distill.distillation.inspection import inspect_model
from distill.distillation.model_info import NamedModel
from distill.distillation.teacher import Teacher
from distill.models.interface import remove_hooks
from distill.models.text.encoder import called_with_dicts
from distill.tasks.classification import Classification
from distill.training.builder import build_criterion
from distill.training.defaults import LEARNING_RATE
from distill.training.flows import used_flows
from distill.training.module import DistillationModule
from distill.training.optimization import OptimizerFactory, optimizers
from distill.training.schedulers import SchedulerFactory
from distill.utils.errors import UserError, first_line
from distill.utils.inputs import num_samples, to_device

INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32)


class Distiller(DistillationModule):
    """A LightningModule that distills ``teacher`` into ``student``.

    L = α · cross-entropy + (1 − α) · L_soft + Σ weight · (feature and relation terms), see ``kd``.

    Layers and adapters are built by one forward of both models, on ``example`` or on the first batch of the Trainer's
    training loader. The teacher is frozen and not part of this module's parameters and checkpoints.

    Args:
        student: its forward returns logits (N, C). A model of transformers for sequence classification is called as it
            expects; its weights are trained in place.
        teacher: a trained model with the same classes; None: the student learns from the labels alone (``kd="none"``).
        kd: a method by name (``distill methods`` lists them), or several.
        optimizer: makes the optimizer from parameters; None: that of ``distill train``, SGD.
        scheduler: makes the learning-rate scheduler from that optimizer; None: with the default optimizer the default
            schedule, one cycle over the run, otherwise a constant rate.
        example: a few inputs, as the models take them.
        settings: keys of the configuration's node ``kd``: ``T=4, alpha=0.1, terms={"sp": {"weight": 1000}}``.

    Raises:
        UserError: a method that does not exist, a value out of range; from the start of training on, models that do
            not fit each other or the method, and batches that are no pairs (inputs, target) or have
            labels outside the student's classes.

    Example:
        >>> import distill, lightning
        >>> module = distill.Distiller(student, teacher, kd="dkd", T=4)  # doctest: +SKIP
        >>> lightning.Trainer(max_epochs=1).fit(module, loader)  # doctest: +SKIP
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | None = None,
        kd: str | Sequence[str] = "kd",
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        example: Any = None,
        **settings: Any,
    ) -> None:
        L.LightningModule.__init__(self)
        for name, model in (("student", student), ("teacher", teacher)):
            if not isinstance(model, nn.Module) and (name == "student" or model is not None):
                raise UserError(f"{name} must be a torch.nn.Module, got {type(model).__name__}")
        if optimizer is not None and not callable(optimizer):
            raise UserError(f"optimizer must make the optimizer from parameters, got a {type(optimizer).__name__}")
        config = _configuration(kd, settings)
        self._kd = config.kd
        self._optimizer: Any = optimizer or instantiate(config.optimizer, "optimizer")
        self._has_default_schedule = optimizer is None and scheduler is None
        if self._has_default_schedule and config.scheduler:
            scheduler = instantiate(config.scheduler, "scheduler")
        self._scheduler = scheduler
        self._callbacks: list[L.Callback] = []
        _check_apart(student, teacher)
        self.student, self.int8 = called_with_dicts(student, "the student"), None
        self._models = (self.student, called_with_dicts(teacher, "the teacher"))  # a tuple: the teacher is no submodule
        self.criterion = _criterion(self._kd, teacher is not None)
        self._heads: tuple[str | None, str | None] | None = None  # of both models, once the criterion is built
        self._num_classes = 0
        self._removed_hooks: list[Callable[[], None]] = []  # by the last teardown; each puts a model's hooks back
        if example is not None:
            self._build(example)

    def _build(self, example: Any) -> None:
        device = next((p.device for p in self.student.parameters()), torch.device("cpu"))
        inputs = to_device(_plain(example), device)
        student, teacher = (
            NamedModel(
                type(model).__name__,
                model,
                inspect_model(model, inputs, f"the {role} {type(model).__name__}", training=role == "student"),
            )
            if model is not None
            else None
            for role, model in zip(("student", "teacher"), self._on(device), strict=True)
        )
        assert student is not None
        classes = student.model_info.logits[1]
        if teacher is not None and teacher.model_info.logits[1] != classes:
            raise UserError(f"the student gives {classes} logits and the teacher {teacher.model_info.logits[1]}")
        criterion = self.criterion
        criterion.build(student.model_info, teacher.model_info if teacher else None, None)
        n = num_samples(inputs)
        dry_run(criterion, student, teacher, Batch(inputs, torch.arange(n) % classes, torch.arange(n)))
        self._num_classes = classes
        self._heads = (
            student.model_info.head if criterion.reads("student_embedding") else None,
            teacher.model_info.head if teacher is not None and criterion.reads("teacher_embedding") else None,
        )

    def _on(self, device: torch.device) -> tuple[nn.Module, nn.Module | None]:
        student, teacher = self._models
        return student, teacher if teacher is None else teacher.to(device)

    def setup(self, stage: str) -> None:
        """Build what depends on shapes, where no example was given, and move the teacher to the training device."""
        if self._heads is None:
            self._build(_first_inputs(self.trainer))
        for put_back in self._removed_hooks:
            put_back()
        assert self._heads is not None
        teacher = self._models[1]
        frozen = None
        if teacher is not None:
            self._teacher_flags = [(p, p.requires_grad) for p in teacher.parameters()]
            self._teacher_modes = [(module, module.training) for module in teacher.modules()]
            self.trainer.precision_plugin.convert_module(teacher)
            frozen = Teacher(teacher, self.criterion.extracted_layers("teacher"), self._heads[1])
        self.assemble(self.criterion, Classification(self._num_classes), frozen, self._heads[0])
        super().setup(stage)

    def teardown(self, stage: str) -> None:
        """Leave both models without hooks, and the teacher as trainable as it was."""
        super().teardown(stage)
        self.extractor.remove()
        self._removed_hooks = [remove_hooks(model) for model in self._models if model is not None]
        if self.teacher is not None:
            self.teacher.extractor.remove()
            for parameter, flag in self._teacher_flags:
                parameter.requires_grad = flag
            for module, training in self._teacher_modes:
                module.training = training
        self.teacher = None

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The student's logits for inputs, or for the inputs of a batch with a target."""
        inputs = _pair(batch)[0] if isinstance(batch, Mapping) and _labels(batch) else batch
        logits: Tensor = self(_plain(batch[0] if isinstance(batch, list | tuple) else inputs))
        return logits

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Check the labels while they are on the host: a GPU would only stop the process."""
        if not (isinstance(batch, Batch) or (self._trainer is not None and self._trainer.predicting)):
            _check_target(_pair(batch)[1], self._num_classes)
        return batch

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """A batch as the criterion takes it."""
        if isinstance(batch, Batch) or (self._trainer is not None and self._trainer.predicting):
            return batch
        return Batch(*_pair(batch), torch.empty(0, dtype=torch.int64))

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set what follows a schedule; random generators are the script's own."""
        self.start_epoch(self.current_epoch, self._num_epochs())

    def _num_epochs(self) -> int:
        """Epochs of the whole training, over which schedules run."""
        trainer = self.trainer
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            return trainer.max_epochs
        if trainer.max_steps > 0 and trainer.num_training_batches != float("inf"):
            return math.ceil(trainer.max_steps * trainer.accumulate_grad_batches / trainer.num_training_batches)
        if self.criterion.scheduled:
            raise UserError("kd has schedules over the epochs: give the Trainer max_epochs")
        return 1

    def configure_optimizers(self) -> Any:
        scheduler = self._scheduler
        steps = self.trainer.estimated_stepping_batches if scheduler else 1
        if not 0 < steps < float("inf"):
            if not self._has_default_schedule:
                raise UserError("the scheduler needs the number of steps: a loader with a length, or max_steps")
            scheduler = None
        return optimizers(self._optimizer, scheduler, self, lambda: int(steps))


def _configuration(kd: str | Sequence[str], settings: dict[str, Any]) -> TrainConfig:
    """The configuration of ``distill train`` with these settings of ``kd``."""
    if not isinstance(kd, str) and not (isinstance(kd, Sequence) and kd and all(isinstance(one, str) for one in kd)):
        raise UserError(f"kd must be the name of a method, or a list of names, got {kd!r}")
    keys = {f"kd.{key}": value for key, value in settings.items()}
    try:
        config = typed(
            compose(as_overrides({"kd": kd if isinstance(kd, str) else list(kd), "optimizer.lr": LEARNING_RATE} | keys))
        )
    except ERRORS as error:
        raise UserError(explain(error)) from error
    check(config)
    return config


def _check_apart(student: nn.Module, teacher: nn.Module | None) -> None:
    """A UserError if both models hold the same parameter: it would be frozen."""
    own = {id(parameter) for parameter in student.parameters()}
    if teacher is not None and any(id(parameter) in own for parameter in teacher.parameters()):
        raise UserError("student and teacher share parameters, and the teacher is frozen: give it a copy of its own")


def _criterion(kd: KDConfig, has_teacher: bool) -> Any:
    """The criterion of a method that needs only two models and batches."""
    unsupported = [flow.key for flow in used_flows(kd)] + (["student_wrapper"] if kd.student_wrapper else [])
    if unsupported:
        key = unsupported[0]
        raise UserError(f"distill.Distiller trains one student under one teacher; kd.{key} is for distill.train")
    criterion = build_criterion(kd, max_epochs=100)
    for term in criterion.terms:
        if term.pretraining is not None:
            raise UserError(f"term '{term.name}' needs a pretraining stage, which only distill.train runs")
        if "index" in term.all_reads:
            raise UserError(f"term '{term.name}' needs each sample's index, which only distill.train's data give")
        if term.needs_teacher and not has_teacher:
            raise UserError(f"term '{term.name}' needs a teacher, and teacher is None: give one, or kd=\"none\"")
    return criterion


def _pair(batch: Any) -> tuple[Any, Tensor]:
    """Inputs and target of a loader's batch."""
    if isinstance(batch, Mapping) and (name := _labels(batch)):
        batch = ({key: value for key, value in batch.items() if key != name}, batch[name])
    if isinstance(batch, list | tuple) and len(batch) == 2 and isinstance(batch[1], Tensor):
        return _plain(batch[0]), batch[1].long() if batch[1].dtype in INTEGERS else batch[1]
    size = f" of {len(batch)}" if isinstance(batch, list | tuple | dict) else ""
    batch_type = f"{type(batch).__name__}{size}"
    raise UserError(
        f"distill.Distiller takes batches (inputs, target), or dicts with labels, and the loader gives a {batch_type}"
    )


def _plain(inputs: Any) -> Any:
    """A mapping, as a tokenizer of transformers returns it, as a dict; other inputs as they are."""
    return dict(inputs) if isinstance(inputs, Mapping) else inputs


def _labels(batch: Mapping[str, Any]) -> str | None:
    """The key of a batch's labels, as collators of transformers call them."""
    return next((name for name in ("labels", "label") if name in batch), None)


def _check_target(target: Tensor, classes: int) -> None:
    """A UserError unless the target holds class numbers (N,), or shares of the classes (N, C)."""
    if target.is_floating_point():
        if target.dim() != 2 or target.shape[1] != classes:
            raise UserError(
                f"a target of floats must be shares of the classes, (N, {classes}), got {tuple(target.shape)} "
                "(class numbers must be integers)"
            )
        return
    if target.dim() != 1:
        raise UserError(f"a target of class numbers must have the shape (N,), got {tuple(target.shape)}")
    outside = target[(target < 0) | (target >= classes)]
    if len(outside):
        raise UserError(f"label {int(outside[0])} is outside 0..{classes - 1}: the student has {classes} logits")


def _first_inputs(trainer: Any) -> Any:
    """A few inputs of the Trainer's first loader; the state of the generators is restored."""
    loop = trainer.fit_loop if trainer.training or trainer.sanity_checking else trainer._active_loop or trainer.fit_loop
    try:
        loader = loop._data_source.dataloader()
        loader = loader[0] if isinstance(loader, list | tuple) else loader
        if iter(loader) is loader:
            raise UserError("the loader is an iterator that gives each batch once: give example=<inputs>")
        with isolate_rng():
            inputs, _ = _pair(next(iter(loader)))
    except StopIteration:
        raise UserError("the loader gives no batch: its dataset is empty, or drop_last leaves nothing") from None
    except (AttributeError, TypeError) as error:
        raise UserError(f"no batch to find the models' shapes: give example=<inputs> ({first_line(error)})") from error
    return inputs[:4] if isinstance(inputs, Tensor) else inputs
