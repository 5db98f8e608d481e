"""Evaluation of a run: every model predicts every sample once; all scores are computed from these predictions."""

import math
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from distill.data import DataModule, ViewLoader
from distill.evaluation.compare_predictions import compare_predictions, most
from distill.evaluation.final_teacher import final_teacher, final_teacher_role
from distill.evaluation.inference import Pass, Predictions, predict
from distill.evaluation.results import EvaluatedModel, EvaluationResults, Reproduction
from distill.evaluation.runs import Run
from distill.evaluation.scores import confident, losses, scores
from distill.training.roles import BASELINE, STUDENT, TEACHER, TEACHERS, Role, RoleKind
from distill.training.summary import Hardware
from distill.training.trainer import check_device, evaluator, quiet
from distill.utils import environment
from distill.utils.cpu import usable_cores
from distill.utils.errors import UserError
from distill.utils.processes import count

HARDEST = 24


@dataclass(frozen=True)
class Subject:
    """What is evaluated.

    Attributes:
        baseline: another run to compare with, as that of the student trained alone.
        order: for each class of the data its number in the run; None: the run's own data.
        name: of the data.
        split: "test", "val" or "train".
        batch_size: None: the run's.
        teacher: whether to evaluate the teacher too.
    """

    run: Run
    baseline: Run | None
    data: DataModule
    order: Tensor | None
    name: str
    split: str
    batch_size: int | None
    teacher: bool


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

    They must be equal to the last bit; the cross-entropy of a run with several processes up to rounding.
    """
    then = run.tested.test if split == "test" else run.tested.val
    metrics = [name for name in ("acc", "top5", "agreement", "hard") if name in then and name in logged]
    values: dict[str, dict[str, float]] = {name: {"then": then[name], "now": logged[name]} for name in metrics}
    trainer = run.config["trainer"]
    rounding = 1e-5 if count(trainer) * trainer.get("num_nodes", 1) > 1 else 0.0  # processes sum in another order
    equal = all(
        math.isclose(pair["then"], pair["now"], rel_tol=rounding if name == "hard" else 0.0)
        for name, pair in values.items()
    )
    return Reproduction(equal, values)


def _predictions(subject: Subject) -> tuple[Pass, dict[Role, Predictions]]:
    """The pass of the student with its final teacher, as in the run's test, and every model's predictions."""
    run, data = subject.run, subject.data.with_options(eval_batch_size=subject.batch_size)
    role = final_teacher_role(run) if subject.teacher else None
    split: Any = subject.split
    trainer = _trainer(run, limited=subject.order is None and split != "train")
    classes = len(run.classes)

    def loader() -> ViewLoader:
        return data.evaluation_loader(split)

    teacher = final_teacher(run, role, run.tested.epoch) if role else None
    first = predict(run.student, teacher, loader(), trainer, split, classes, run.settings.kd.label_smoothing)
    outputs = {STUDENT: first.student}
    if role and first.teacher:
        outputs[role] = first.teacher
    others = {
        TEACHER: run.teacher if role not in (TEACHER, None) else None,
        BASELINE: subject.baseline.student if subject.baseline else None,
    }
    for each, model in others.items():
        if model is not None:
            outputs[each] = predict(model, None, loader(), trainer, split, classes).student
    predictions = {each: outputs[each] for each in (TEACHER, role, STUDENT, BASELINE) if each in outputs}
    for each, prediction in predictions.items():
        broken = int((~prediction.logits.float().isfinite()).any(1).sum())
        if broken:
            raise UserError(f"{each} answers {broken} of {len(prediction.logits)} images with no finite numbers")
    return first, predictions


def _evaluated(subject: Subject, role: Role, logits: Tensor, target: Tensor) -> EvaluatedModel:
    """Scores, size and speed of a model; no speed of another run, as speeds vary with time."""
    models, computed = subject.run.summary.models, scores(logits, target)
    if role == TEACHERS:
        name = " + ".join(model.name for each, model in models.items() if each.kind == RoleKind.TEACHER)
        return EvaluatedModel(name, computed, None, None)
    if role == BASELINE and subject.baseline is not None:
        student = subject.baseline.student_result
        return EvaluatedModel(student.name, computed, student.size, None)
    return EvaluatedModel(models[role].name, computed, models[role].size, models[role].speed)


def sample(
    position: int, predictions: dict[Role, Predictions], target: Tensor, index: Tensor, classes: tuple[str, ...]
) -> dict[str, Any]:
    """One image: its index, its class, every model's prediction, its probability and its loss in nats."""
    true = target[position : position + 1]
    image: dict[str, Any] = {"index": int(index[position]), "class": classes[int(true)]}
    for role, prediction in predictions.items():
        logits = prediction.logits[position : position + 1]
        predicted, probability = confident(logits)
        image[str(role)] = {
            "answer": classes[int(predicted)], "probability": float(probability), "loss": float(losses(logits, true))
        }  # fmt: skip
    return image


def evaluate(subject: Subject) -> Evaluation:
    """Evaluates every model on every image.

    Raises:
        UserError: weights that the run did not test, missing models, logits that are not finite.
    """
    quiet()
    run = subject.run
    torch.set_num_threads(min(run.summary.hardware.threads, usable_cores()))
    first, predictions = _predictions(subject)
    target = first.target if subject.order is None else subject.order[first.target]
    models = {role: _evaluated(subject, role, each.logits, target) for role, each in predictions.items()}
    student = predictions[STUDENT].logits
    comparisons = {
        role: compare_predictions(student, each.logits, target, run.classes)
        for role, each in predictions.items()
        if role != STUDENT
    }
    comparable = subject.order is None and subject.batch_size is None and subject.split != "train" and subject.teacher
    results = EvaluationResults(
        run=str(run.folder),
        weights=run.weights.name,
        epoch=run.tested.epoch,
        data=subject.name,
        split=subject.split,
        samples=len(target),
        against=str(subject.baseline.folder) if subject.baseline else None,
        batch_size=subject.data.with_options(eval_batch_size=subject.batch_size).evaluation_batch_size,
        precision=run.summary.precision,
        reproduced=reproduced(run, subject.split, first.logged) if comparable else None,
        models=models,
        comparisons=comparisons,
        classes=list(run.classes),
        hardware=Hardware(**environment.hardware(_trainer(run, limited=True).strategy.root_device)),
        versions=environment.versions(),
        git_commit=environment.git_commit(Path(__file__).parent),
        command=environment.command(),
        hardest=[
            sample(position, predictions, target, first.index, run.classes)
            for position in most(losses(student, target), shown=HARDEST)
        ],
    )
    return Evaluation(results, predictions, target, first.index, first.mapped, next(iter(comparisons), None), subject)
