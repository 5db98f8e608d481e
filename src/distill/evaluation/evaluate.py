"""The evaluation on objects: every model predicts every sample once; everything is counted from that."""

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
        run: the run.
        baseline: another run to compare with, as that of the student trained alone; None: none.
        data: the images.
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
    """An evaluation with the predictions behind it.

    Attributes:
        results: what evaluation.json holds.
        predictions: of every model by role.
        target: class numbers, int64 (N,).
        index: positions in the source, int64 (N,).
        mapped: positions among the N whose embeddings are kept.
        reference: the role beside which the student is shown; None where it is alone.
        subject: what was evaluated.
    """

    results: EvaluationResults
    predictions: dict[Role, Predictions]
    target: Tensor
    index: Tensor
    mapped: Tensor
    reference: Role | None
    subject: Subject


def _trainer(run: Run, limited: bool) -> L.Trainer:
    """A trainer as the run's test had it; ``limited``: its ``limit_*_batches`` hold, as for the run's own splits."""
    trainer = copy(run.settings.trainer)
    try:
        check_device(trainer.accelerator, 1)
    except UserError:
        trainer.accelerator = "auto"  # a run from a machine with another device
    if not limited:
        trainer.limit_val_batches = trainer.limit_test_batches = None
    return evaluator(trainer, run.summary.precision)


def reproduced(run: Run, split: str, logged: dict[str, float]) -> Reproduction:
    """Whether the run's own numbers came out again, to the last bit; of several processes, losses to their rounding.

    Top-1, top-5, agreement and cross-entropy are compared.
    """
    then = run.tested.test if split == "test" else run.tested.val
    values: dict[str, dict[str, float]] = {
        name: {"then": then[name], "now": logged[name]}
        for name in ("acc", "top5", "agreement", "hard")
        if name in then and name in logged
    }
    trainer = run.config["trainer"]
    rounding = 1e-5 if count(trainer) * trainer.get("num_nodes", 1) > 1 else 0.0  # they add up in another order
    equal = all(
        math.isclose(pair["then"], pair["now"], rel_tol=rounding if name == "hard" else 0.0)
        for name, pair in values.items()
    )
    return Reproduction(equal, values)


def _check_finite(role: Role, predictions: Predictions) -> None:
    broken = int((~predictions.logits.float().isfinite()).any(1).sum())
    if broken:
        raise UserError(f"{role} answers {broken} of {len(predictions.logits)} images with no finite numbers")


def _predictions(subject: Subject) -> tuple[Pass, dict[Role, Predictions]]:
    """The pass of the student beside its final teacher, as in the run's test, and every model's predictions."""
    run, data = subject.run, subject.data.with_options(eval_batch_size=subject.batch_size)
    role = final_teacher_role(run) if subject.teacher else None
    split: Any = subject.split
    trainer = _trainer(run, limited=subject.order is None and split != "train")
    classes = len(run.classes)

    def loader() -> ViewLoader:
        return data.evaluation_loader(split)

    teacher = final_teacher(run, role, run.tested.epoch) if role else None
    smoothing = run.config["kd"]["label_smoothing"]
    first = predict(run.student, teacher, loader(), trainer, split, classes, smoothing)
    outputs = {STUDENT: first.student}
    if role and first.teacher:
        outputs[role] = first.teacher
    main = run.teacher if role not in (TEACHER, None) else None
    if main is not None:
        outputs[TEACHER] = predict(main, None, loader(), trainer, split, classes).student
    if subject.baseline is not None:
        outputs[BASELINE] = predict(subject.baseline.student, None, loader(), trainer, split, classes).student
    predictions = {
        each: outputs[each] for each in (TEACHER, role, STUDENT, BASELINE) if each is not None and each in outputs
    }
    for each, made in predictions.items():
        _check_finite(each, made)
    return first, predictions


def _evaluated(subject: Subject, role: Role, logits: Tensor, target: Tensor) -> EvaluatedModel:
    """Scores of a model, beside its size and speed; of another run the size alone, as speeds vary with time."""
    models = subject.run.summary.models
    if role == TEACHERS:
        name = " + ".join(model.name for each, model in models.items() if each.kind == RoleKind.TEACHER)
        return EvaluatedModel(name, scores(logits, target), None, None)
    if role == BASELINE and subject.baseline is not None:
        student = subject.baseline.student_result
        return EvaluatedModel(student.name, scores(logits, target), student.size, None)
    model = models[role]
    return EvaluatedModel(model.name, scores(logits, target), model.size, model.speed)


def sample(
    position: int, predictions: dict[Role, Predictions], target: Tensor, index: Tensor, classes: tuple[str, ...]
) -> dict[str, Any]:
    """One image: its index, its class, every model's prediction, its probability and its loss in nats."""
    true = target[position : position + 1]
    image: dict[str, Any] = {"index": int(index[position]), "class": classes[int(true)]}
    for role, made in predictions.items():
        logits = made.logits[position : position + 1]
        predicted, probability = confident(logits)
        image[str(role)] = {
            "answer": classes[int(predicted)], "probability": float(probability), "loss": float(losses(logits, true))
        }  # fmt: skip
    return image


def evaluate(subject: Subject) -> Evaluation:
    """Evaluates every model on every image.

    Raises:
        UserError: weights that the run did not test, models that are not there, logits that are not finite.
    """
    quiet()
    run = subject.run
    torch.set_num_threads(min(run.summary.hardware.threads, usable_cores()))
    first, predictions = _predictions(subject)
    target = first.target if subject.order is None else subject.order[first.target]
    models = {role: _evaluated(subject, role, made.logits, target) for role, made in predictions.items()}
    others = [role for role in predictions if role != STUDENT]
    student = predictions[STUDENT].logits
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
        comparisons={
            role: compare_predictions(student, predictions[role].logits, target, run.classes) for role in others
        },
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
    return Evaluation(results, predictions, target, first.index, first.mapped, others[0] if others else None, subject)
