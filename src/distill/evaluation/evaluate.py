"""Evaluation of a run: every model predicts every sample once; all scores are computed from these predictions."""

import math
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from distill.data import DataModule, TextDataModule, ViewLoader
from distill.distillation.teacher import Teacher
from distill.evaluation import embeddings, outputs
from distill.evaluation.compare_predictions import compare_predictions, most
from distill.evaluation.inference import Pass, Predictions, predict
from distill.evaluation.results import EvaluatedModel, EvaluationResults, MetricComparison, Reproduction
from distill.evaluation.runs import Run
from distill.evaluation.scores import confident, losses, scores
from distill.tasks.base import Task
from distill.training.roles import BASELINE, STUDENT, TEACHER, TEACHERS, Role, RoleKind
from distill.training.trainer import check_device, evaluator, quiet
from distill.utils import environment
from distill.utils.errors import UserError
from distill.utils.processes import count, usable_cores

HARDEST = 24


@dataclass(frozen=True)
class Subject:
    """What is evaluated.

    Attributes:
        baseline: another run to compare with, as that of the student trained alone.
        name: of the data.
        split: "test", "val" or "train".
        batch_size: None: the run's.
        teacher: whether to evaluate the teacher too.
        root: of other data, for the record.
    """

    run: Run
    baseline: Run | None
    data: DataModule[Any]
    name: str
    split: str
    batch_size: int | None
    teacher: bool
    root: str | None = None

    @property
    def is_own(self) -> bool:
        """Whether these are the run's own data."""
        return self.data is self.run.data


@dataclass(frozen=True)
class Evaluation:
    """An evaluation with its predictions; ``index`` and ``mapped`` as in :class:`Pass`.

    Attributes:
        results: the contents of evaluation.json.
        target: class numbers in the run, int64 (N,).
        reference: the role that the student is compared with first; None where there is no other model.
    """

    results: EvaluationResults
    predictions: dict[Role, Predictions]
    target: Tensor
    index: Tensor
    mapped: Tensor
    reference: Role | None
    subject: Subject


def _trainer(run: Run, limited: bool) -> L.Trainer:
    """The run's trainer for evaluation; ``limited``: with its ``limit_*_batches``, as on the run's own splits."""
    trainer = copy(run.settings.trainer)
    try:
        check_device(trainer.accelerator, 1)
    except UserError:
        trainer.accelerator = "auto"  # the run was trained on another kind of device
    if not limited:
        trainer.limit_val_batches = trainer.limit_test_batches = None
    return evaluator(trainer, run.summary.precision)


def reproduced(run: Run, split: str, logged: dict[str, float]) -> Reproduction:
    """Compares top-1, top-5, agreement and cross-entropy with those of the run's own test.

    They must be equal to the last bit; the cross-entropy of a run with several processes up to rounding. What a sparse
    cache told of a language model's teacher is left out.
    """
    then = run.tested.test if split == "test" else run.tested.val
    cache = run.settings.cache
    sparse = cache.sampled is not None or (cache.top_k is not None and run.task.counts_tokens)
    compared = [each.name for each in run.summary.task.metrics if not (sparse and each.needs_teacher)]
    names = [*compared, "hard"]
    metrics = [name for name in names if name in then and name in logged]
    values: dict[str, dict[str, float]] = {name: {"then": then[name], "now": logged[name]} for name in metrics}
    trainer = run.settings.trainer
    rounding = 1e-5 if count(trainer.devices) * trainer.num_nodes > 1 else 0.0  # processes sum in another order
    equal = all(
        math.isclose(pair["then"], pair["now"], rel_tol=rounding if name == "hard" else 0.0)
        for name, pair in values.items()
    )
    return Reproduction(equal, values)


def _load_final_teacher(run: Run, role: Role, epoch: int) -> Teacher:
    """The teacher with the role that ``run.flows.final_teacher`` gives.

    Args:
        run: the run.
        role: the teacher's.
        epoch: the student's, counted from 1: how several teachers are combined may follow a schedule.

    Raises:
        UserError: its weights are missing.
    """
    roles = [role] if role != TEACHERS else [each for each in run.roles if each.kind == RoleKind.TEACHER]
    models = [run.model(each) for each in roles]
    teachers = [Teacher(model.model, head=model.model_info.head) for model in models]
    if role != TEACHERS:
        return teachers[0]
    combined = run.flows.combine(len(teachers), run.task)(teachers)
    combined.start_epoch(epoch - 1, run.settings.trainer.max_epochs)
    return combined


def _predictions(subject: Subject) -> tuple[Pass, dict[Role, Predictions]]:
    """The pass of the student with its final teacher, as in the run's test, and every model's predictions."""
    run, data = subject.run, subject.data.with_options(eval_batch_size=subject.batch_size)
    role = run.flows.final_teacher(run.roles) if subject.teacher else None
    split: Any = subject.split
    trainer = _trainer(run, limited=subject.is_own and split != "train")

    def loader(of: Role = STUDENT) -> ViewLoader:
        return (data.of_teacher() if of == TEACHER else data).evaluation_loader(split)

    teacher = _load_final_teacher(run, role, run.tested.epoch) if role else None
    first = predict(run.student, teacher, loader(), trainer, split, run.task, run.settings.kd.label_smoothing)
    found = {STUDENT: first.student}
    if role and first.teacher:
        found[role] = first.teacher
    others = {
        TEACHER: run.teacher if role not in (TEACHER, None) else None,
        BASELINE: subject.baseline.student if subject.baseline else None,
    }
    for each, model in others.items():
        if model is not None:
            found[each] = predict(model, None, loader(each), trainer, split, run.task).student
    predictions = {each: found[each] for each in (TEACHER, role, STUDENT, BASELINE) if each in found}
    for each, prediction in predictions.items():
        if prediction.broken:
            samples = len(prediction.logits)
            raise UserError(f"the {each.label} answers {prediction.broken} of {samples} samples with no finite numbers")
    return first, predictions


def _scores(task: Task, role: Role, predictions: dict[Role, Predictions], target: Tensor) -> Any:
    """What the task measures of a model's outputs."""
    logits = predictions[role].logits
    if task.has_classes:
        names = {metric.name for metric in task.info.metrics}
        return scores(logits, target, "matthews" in names)
    if task.targets == "none":
        return embeddings.scores(task, logits, predictions[embeddings.reference(predictions)].logits)
    return outputs.scores(task, logits, target)


def _evaluated(subject: Subject, role: Role, computed: Any) -> EvaluatedModel:
    """Scores, size and speed of a model; no speed of another run, as speeds vary with time."""
    models = subject.run.summary.models
    if role == TEACHERS:
        name = " + ".join(model.name for each, model in models.items() if each.kind == RoleKind.TEACHER)
        return EvaluatedModel(name, computed, None, None)
    if role == BASELINE and subject.baseline is not None:
        student = subject.baseline.student_result
        return EvaluatedModel(student.name, computed, student.size, None)
    return EvaluatedModel(models[role].name, computed, models[role].size, models[role].speed)


def _origin(subject: Subject, row: int) -> dict[str, Any]:
    """A sample's index, its file if it has one, and the text itself."""
    file, shown = subject.data.file(subject.split, row), subject.data.show(subject.split, row)
    text = {"text": shown} if isinstance(shown, str) else {}
    return {"index": row, **({"file": file} if file else {}), **text}


def words_of(subject: Subject, row: int) -> list[str]:
    """The words that have tags; [] where samples are no sentences of words."""
    data = subject.data
    return (
        data.words(subject.split, row) if isinstance(data, TextDataModule) and data.options.targets == "tokens" else []
    )


def sample(
    position: int, subject: Subject, predictions: dict[Role, Predictions], target: Tensor, index: Tensor
) -> dict[str, Any]:
    """One sample: its index, its file if it has one, its class, every model's prediction, its probability and loss."""
    true, classes = target[position : position + 1], subject.run.classes
    image: dict[str, Any] = {**_origin(subject, int(index[position])), "class": classes[int(true)]}
    for role, prediction in predictions.items():
        logits = prediction.logits[position : position + 1]
        predicted, probability = confident(logits)
        image[str(role)] = {
            "answer": classes[int(predicted)], "probability": float(probability), "loss": float(losses(logits, true))
        }  # fmt: skip
    return image


def _output_sample(
    position: int, subject: Subject, predictions: dict[Role, Predictions], target: Tensor, index: Tensor
) -> dict[str, Any]:
    """One sample of a task without classes: its index, its file if it has one, its target, every model's values."""
    task, names, true = subject.run.task, subject.run.classes, target[position]
    row = int(index[position])
    words = {"words": seen} if (seen := words_of(subject, row)) else {}
    image = {**_origin(subject, row), **words, "target": task.target_values(true, names)}
    for role, prediction in predictions.items():
        image[str(role)] = task.predicted_values(prediction.logits[position].float(), names, true)
    return image


def _hardest(
    subject: Subject, predictions: dict[Role, Predictions], target: Tensor, found: Pass
) -> list[dict[str, Any]]:
    """The samples with the highest loss of the student; of embeddings those that are placed otherwise."""
    task, student = subject.run.task, predictions[STUDENT].logits
    if task.targets == "none":
        placed = embeddings.misplaced({role: each.logits for role, each in predictions.items()}, found.mapped, HARDEST)
        return embeddings.samples(placed, lambda position: _origin(subject, int(found.index[position])))
    loss = losses(student, target) if task.has_classes else task.sample_losses(student, target)
    described = sample if task.has_classes else _output_sample
    return [described(each, subject, predictions, target, found.index) for each in most(loss, shown=HARDEST)]


def evaluate(subject: Subject) -> Evaluation:
    """Evaluates every model on every sample.

    Raises:
        UserError: weights that the run did not test, missing models, logits that are not finite.
    """
    quiet()
    run = subject.run
    torch.set_num_threads(min(run.summary.hardware.threads, usable_cores()))
    first, predictions = _predictions(subject)
    target = first.target
    models = {role: _evaluated(subject, role, _scores(run.task, role, predictions, target)) for role in predictions}
    student, task = predictions[STUDENT].logits, run.task
    comparisons = {
        role: compare_predictions(student, each.logits, target, run.classes)
        if task.has_classes
        else outputs.compare(task, student, each.logits, target)
        for role, each in predictions.items()
        if role != STUDENT
    }
    for role, found in comparisons.items():  # the pass itself compared the student with its teacher
        if isinstance(found, MetricComparison) and role == run.flows.final_teacher(run.roles):
            logged = {each.name: first.logged.get(each.name) for each in task.info.metrics if each.needs_teacher}
            found.metrics.update({name: value for name, value in logged.items() if value is not None})
    comparable = subject.is_own and subject.batch_size is None and subject.split != "train" and subject.teacher
    results = EvaluationResults(
        run=run.repo or str(run.folder),
        weights=run.weights.name,
        epoch=run.tested.epoch,
        data=subject.name,
        root=subject.root,
        split=subject.split,
        samples=len(target),
        against=(subject.baseline.repo or str(subject.baseline.folder)) if subject.baseline else None,
        batch_size=subject.data.with_options(eval_batch_size=subject.batch_size).evaluation_batch_size,
        precision=run.summary.precision,
        reproduced=reproduced(run, subject.split, first.logged) if comparable else None,
        models=models,
        comparisons=comparisons,
        classes=list(run.classes),
        hardware=environment.hardware(_trainer(run, limited=True).strategy.root_device),
        versions=environment.versions(),
        git_commit=environment.git_commit(Path(__file__).parent),
        command=environment.command(),
        hardest=_hardest(subject, predictions, target, first),
        task=task.info,
    )
    return Evaluation(results, predictions, target, first.index, first.mapped, next(iter(comparisons), None), subject)
