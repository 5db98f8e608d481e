"""From a configuration to the objects of a run; all configuration errors are raised before any training."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from omegaconf import DictConfig, OmegaConf

from distill.config import schema
from distill.config.default_teacher import starts_from_teacher
from distill.config.kinds import tokenizer_key
from distill.config.schema import Node, RecipeConfig, TrainConfig
from distill.config.weights_files import weights_of
from distill.data import DataModule
from distill.distillation.criterion import Criterion
from distill.distillation.model_info import NamedModel
from distill.distillation.teacher_cache import CachePlan, plan
from distill.distillation.teacher_store import TeacherSource
from distill.models.interface import check_output
from distill.models.outputs import output_layer
from distill.tasks.base import Task
from distill.training import defaults, pretrained, threads, unlabelled
from distill.training.acceleration import policy
from distill.training.builder import (
    build_criterion,
    build_model,
    build_optimization,
    build_task,
    fit_criterion,
    task_class,
    wrap_student,
)
from distill.training.fingerprint import fingerprint_inputs
from distill.training.fit import make_distiller
from distill.training.flows import Flows, ModelConfig
from distill.training.load_data import load_data
from distill.training.plan import Experiment, TrainingStage
from distill.training.roles import STUDENT, Role, RoleKind
from distill.training.trainer import check_arguments, check_device, check_limits, evaluator, quiet, trainer_factory
from distill.utils import distributed
from distill.utils.checkpoints import load_weights
from distill.utils.errors import UserError
from distill.utils.precision import uses_cuda
from distill.utils.values import check_start

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Preparation:
    """Makes the stages of one run.

    Attributes:
        cfg: the configuration.
        flows: who teaches whom.
        data: loaded and split, as the student's configuration says.
        folder: the run's.
        make_trainer: see ``distill.training.trainer.trainer_factory``.
        task: what is predicted.
    """

    cfg: TrainConfig
    flows: Flows
    data: DataModule[Any]
    folder: Path
    make_trainer: Callable[..., L.Trainer]
    task: Task

    def new(self) -> Criterion:
        """The criterion that ``kd`` describes, not yet built."""
        return build_criterion(self.cfg.kd, self.cfg.trainer.max_epochs, self.task)

    def fit(self, criterion: Criterion, student: NamedModel, teacher: NamedModel | None, role: Role) -> None:
        """Builds a criterion for two models, and logs which layers its terms read, a line per pair."""
        fit_criterion(criterion, student, teacher, self.data)
        for term in criterion.terms:
            layers = (criterion.student_layers[term.name], criterion.teacher_layers[term.name])
            for mine, taught_by in zip(*layers, strict=True):
                log.info(f"term {term.name}: {role.label} {mine} <- teacher {taught_by}")

    def model(self, config: ModelConfig, training: int) -> NamedModel:
        """A model, initialised with the seed of its configuration; ``training``: its batch size, 0: not trained."""
        L.seed_everything(config.seed, workers=True, verbose=False)
        who = f"the {config.role.label}"
        data = self.data.of_teacher() if config.role.kind == RoleKind.TEACHER else self.data
        net = build_model(config.node, config.key, who, data, self.task, self.cfg.channels_last, training)
        pretrained.load(net, config.node, config.key)
        if training and not (config.role == STUDENT and self.cfg.init):
            check_start(net.model, net.model_info.name)
            check_output(net.model, data.example(2), net.model_info.name)
        return net

    def teachers(self) -> tuple[TrainingStage, ...]:
        """The main teacher and, where the flow has several, the others; each with its own recipe."""
        stages: list[TrainingStage] = []
        folders: list[Path] = []
        for config in self.flows.teachers():
            recipe = schema.from_node(RecipeConfig, config.node["recipe"])
            if self.task.targets == "none":
                unlabelled.check_teacher(config.node, config.key, recipe.max_epochs, self.task)
            if recipe.max_epochs == 0 and not config.node.get("checkpoint") and not config.node.get("pretrained"):
                raise UserError(
                    "teacher.recipe.max_epochs=0 takes the teacher as it is, and this one is not pretrained: "
                    f"set {config.key}.pretrained=true, give {config.key}.checkpoint, or train it"
                )
            stage = self._teacher_stage(config, recipe)
            if not config.node.get("checkpoint") and stage.folder in folders:
                raise UserError(
                    f"{config.key} is a teacher that is there already: give it another recipe "
                    "({model: <name>, recipe: {seed: 1}}), another model or a checkpoint"
                )
            stages.append(stage)
            folders.append(stage.folder)
        return tuple(stages)

    def _teacher_stage(self, config: ModelConfig, recipe: RecipeConfig) -> TrainingStage:
        cfg, data, checkpoint = self.cfg, self.data.of_teacher(), config.node.get("checkpoint")
        model = self.model(config, training=0 if checkpoint or not recipe.max_epochs else recipe.batch_size)
        path = policy.choose(cfg, model, config.role.label, data, recipe.batch_size, recipe.max_epochs)
        log.debug(path.line)
        source = TeacherSource(
            checkpoint=Path(checkpoint) if checkpoint else None,
            store=Path(cfg.teachers_dir),
            label=f"{model.name}-{cfg.data.name}",
            fingerprint_inputs=fingerprint_inputs(cfg, config.node, data, path.precision),
            max_epochs=recipe.max_epochs,
        )
        optimizer, scheduler = build_optimization(recipe, "teacher.recipe.")
        changes = {"max_epochs": recipe.max_epochs, "gradient_clip_val": recipe.gradient_clip_val}
        return TrainingStage(
            role=config.role,
            student=model,
            data=data.with_options(seed=recipe.seed, batch_size=recipe.batch_size),
            criterion=Criterion(None, (), recipe.label_smoothing, self.task, model.model_info.auxiliary),
            optimizer=optimizer,
            scheduler=scheduler,
            seed=recipe.seed,
            make_trainer=partial(self.make_trainer, precision=path.precision, **changes),
            make_module=make_distiller,
            task=self.task,
            folder=source.folder,
            max_epochs=recipe.max_epochs,
            source=source,
            precision=path.precision,
            compiled=(path.compiled, False),
            cuda_graph=cfg.cuda_graph,
        )

    def stages(self, teachers: tuple[NamedModel, ...]) -> tuple[TrainingStage, ...]:
        """The training of every student of the chain; each is the teacher of the next."""
        optimizer, scheduler = build_optimization(self.cfg)
        combine = self.flows.combine(len(teachers), self.task)
        optimization = {"optimizer": optimizer, "scheduler": scheduler, "combine": combine}
        stages: list[TrainingStage] = []
        for config in self.flows.students():
            stages.append(self._student_stage(config, teachers, announce=not stages, **optimization))
            teachers = (stages[-1].student,)
        return tuple(stages)

    def _student_stage(
        self, config: ModelConfig, teachers: tuple[NamedModel, ...], announce: bool, **settings: Any
    ) -> TrainingStage:
        cfg, is_last = self.cfg, config.role == STUDENT
        data = self.data.with_options(cycle=cfg.cache.cycle)
        teacher = teachers[0] if teachers else None
        criterion = self.new()
        student = self.model(config, training=self.data.batch_size)
        student = wrap_student(cfg.kd.student_wrapper, student, teacher, data.example(4), cfg.channels_last)
        int8 = is_last and cfg.quantize is not None
        path = policy.choose(
            cfg, student, config.role.label, data, data.batch_size, cfg.trainer.max_epochs,
            teacher.model if teacher else None, eager=int8 or not self.flows.has_teacher,
        )  # fmt: skip
        log.debug(path.line)
        if is_last and cfg.init:
            load_weights(student.model, weights_of(cfg.init), student.model_info.name, student.without)
        peers = [self.model(peer, training=self.data.batch_size) for peer in self.flows.peers()]
        make_module, cache = self.flows.make_module(self, [student, *peers], criterion), None
        if make_module is None:
            self.fit(criterion, student, teacher, config.role)
            if teachers and criterion.needs_teacher:
                cache = self._cache(criterion, data, teachers, path.precision, announce)
        return TrainingStage(
            role=config.role,
            student=student,
            data=data,
            criterion=criterion,
            seed=cfg.seed,
            make_trainer=partial(self.make_trainer, precision=path.precision),
            make_module=make_module or make_distiller,
            task=self.task,
            folder=self.folder if is_last else self.folder / str(config.role),
            max_epochs=cfg.trainer.max_epochs,
            teachers=teachers,
            peers=tuple(peers),
            cache=cache,
            int8=int8,
            precision=path.precision,
            teacher_precision=policy.teacher_precision(cfg, data, data.batch_size),
            compiled=(path.compiled, path.compiled),
            cuda_graph=cfg.cuda_graph,
            prefetch=cfg.prefetch,
            **settings,
        )

    def _cache(
        self, criterion: Criterion, data: DataModule[Any], teachers: tuple[NamedModel, ...], precision: Any, told: bool
    ) -> CachePlan | None:
        """How the teachers' outputs are cached, which is ``told``; None: they are not."""
        options, epochs, info = self.cfg.cache, self.cfg.trainer.max_epochs, teachers[0].model_info
        head = getattr(output_layer(teachers[0].model), "out_features", None)  # a vocabulary's size
        cache, line = plan(options, criterion, info, data, epochs, precision, len(teachers), head)
        if told and options.enabled is not False:  # maps and tokens are many: what becomes of them is worth a line
            log.log(logging.INFO if head or len(info.logits) == 4 else logging.DEBUG, line)
        return cache


def prepare(
    config: DictConfig, folder: Path, callbacks_of: Callable[[str], list[L.Callback]] = lambda _: []
) -> Experiment:
    """Sets the process up for a run (device, process group, threads) and builds the run's objects.

    Args:
        config: composed and checked, names of models in ``kd`` expanded (``distill.config.named_models``).
        folder: the run's folder.
        callbacks_of: more callbacks for the Trainer of a label.

    Raises:
        UserError: a configuration that does not fit the code, the data or the machine.
    """
    cfg = schema.typed(config)
    quiet()
    check_device(cfg.trainer.accelerator, cfg.trainer.devices)
    check_arguments(cfg.trainer)
    distributed.init_process_group(uses_cuda(cfg.trainer.accelerator))
    targets = task_class(cfg.task).targets
    keys = (tokenizer_key(cfg), tokenizer_key(cfg, of_teacher=True))
    data = load_data(cfg.data, cfg.seed, defaults.largest_image(cfg), targets, keys)
    config = defaults.settle(config, cfg, data, folder, labelled=targets != "none")
    config = pretrained.settle(config, cfg, data)
    cfg = schema.typed(config)
    raw: Any = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    experiment = build_experiment(cfg, raw, data, folder, callbacks_of)
    threads.settle(cfg.threads, experiment)
    return experiment


def build_experiment(
    cfg: TrainConfig,
    config: Node,
    data: DataModule[Any],
    folder: Path,
    callbacks_of: Callable[[str], list[L.Callback]],
) -> Experiment:
    """All objects of one run; each model is initialised with its own seed.

    Args:
        cfg: the configuration.
        config: the same in YAML's own types.
        data: loaded and split.
        folder: the run's folder.
        callbacks_of: more callbacks for the Trainer of a label.

    Raises:
        UserError: a configuration that does not fit the code or the data.
    """
    flows = Flows(cfg)
    task = build_task(cfg.task, data)
    task.prepare(data)
    if data.mixes and not task.mixes:
        raise UserError(f"data.augment ({data.mixes}) mixes two samples, and task={task.info.name} cannot: set it to 0")
    steps = Preparation(cfg, flows, data, folder, trainer_factory(cfg, task.score, callbacks_of), task)
    criterion = steps.new()
    flows.check_criterion(criterion)
    flows.check_inputs(data)
    has_teacher = (criterion.needs_teacher or starts_from_teacher(cfg)) and flows.has_teacher
    teachers = steps.teachers() if has_teacher or cfg.only is not None else ()
    stages = () if cfg.only is not None else steps.stages(tuple(stage.student for stage in teachers))
    for stage in (*teachers, *stages):
        if stage.source is None or (stage.source.checkpoint is None and stage.max_epochs):  # it is trained here
            check_limits(cfg.trainer, stage.data)
    precision = (stages[-1] if stages else teachers[0]).precision
    return Experiment(
        folder=folder,
        teachers=teachers,
        stages=stages,
        data=data,
        make_evaluator=partial(evaluator, cfg.trainer, precision),
        config=config,
        settings=cfg,
        precision=str(precision),
        task=task,
    )
