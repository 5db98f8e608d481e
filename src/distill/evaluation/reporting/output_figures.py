"""The charts and examples of a run whose outputs are labels or numbers."""

import math
from typing import Any

import torch

from distill.evaluation import outputs
from distill.evaluation.compare_predictions import most
from distill.evaluation.evaluate import Evaluation, words_of
from distill.evaluation.reporting import mask_pictures
from distill.evaluation.reporting.charts import Dot, chart, dots
from distill.evaluation.reporting.figures import CARDS
from distill.evaluation.reporting.images import shown
from distill.evaluation.reporting.rendering import Figure
from distill.training.roles import STUDENT
from distill.utils.units import percent

NUMBERS = 6  # outputs whose predictions are drawn
POINTS = 1000


def by_output(evaluation: Evaluation) -> list[tuple[str, list[str]]]:
    """For every output and metric of single outputs its value by model; of entities for every type."""
    models = list(evaluation.results.models.values())
    if models[0].scores.by_entity:
        return [
            (f"{kind} ({scores['support']:.0f})", [percent(model.scores.by_entity[kind]["f1"]) for model in models])
            for kind, scores in models[0].scores.by_entity.items()
        ]
    labels = list(models[0].scores.by_output)
    return [
        (f"{name}, {label}", [_shown(model.scores.by_output[label][i]) for model in models])
        for i, name in enumerate(evaluation.results.classes)
        for label in labels
    ]


def _shown(value: float) -> str:
    """A metric of one output; of a label that no sample has the average precision is NaN."""
    return "no samples" if math.isnan(value) else f"{value:.4f}"


def predicted_over_true(evaluation: Evaluation) -> list[Figure]:
    """The student's numbers over the true ones, a chart per number; none of labels."""
    task, names = evaluation.subject.run.task, evaluation.subject.run.classes
    if task.targets != "numbers":
        return []
    rows = torch.linspace(0, len(evaluation.target) - 1, min(POINTS, len(evaluation.target))).long()
    predicted = task.decode(evaluation.predictions[STUDENT].logits[rows].float(), names)
    figures = []
    for i, name in enumerate(names[:NUMBERS]):
        true = evaluation.target[rows, i].tolist()
        points = [
            Dot(x, each[name], "student", f"true {x:.4g}, predicted {each[name]:.4g}")
            for x, each in zip(true, predicted, strict=True)
        ]
        xaxis, yaxis = {"title": {"text": "true"}}, {"title": {"text": "predicted"}}
        ends = {"x0": min(true), "y0": min(true), "x1": max(true), "y1": max(true)}
        diagonal = {"type": "line", **ends, "line": {"color": "var(--muted)", "width": 1, "dash": "dash"}}
        figures.append(
            Figure(
                name, chart([dots(points)], f"predicted over true {name}", shapes=[diagonal], xaxis=xaxis, yaxis=yaxis)
            )
        )
    return figures


def examples(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The samples with the highest loss of the student, with every model's prediction."""
    task, student = evaluation.subject.run.task, evaluation.predictions[STUDENT].logits
    loss = task.sample_losses(student, evaluation.target)
    cards = [_card(position, evaluation, float(loss[position])) for position in most(loss, shown=CARDS)]
    of_masks = task.targets == "masks"
    heading = "most wrong pixels of the student" if of_masks else "highest loss of the student"
    return [{"key": "hardest", "heading": f"The hardest: {heading}", "cards": cards}]


def _sentence(position: int, evaluation: Evaluation) -> dict[str, Any]:
    """A sentence as a table: each word with its tag and that of every model, and whether this is right."""
    subject, target = evaluation.subject, evaluation.target[position]
    task, names = subject.run.task, subject.run.classes
    words = words_of(subject, int(evaluation.index[position]))
    if not words:
        return {}
    true = task.target_values(target, names)["tags"]
    given = [task.predicted_values(each.logits[position], names, target) for each in evaluation.predictions.values()]
    lines = zip(words, true, zip(*(values["tags"] for values in given), strict=True), strict=True)
    return {
        "words": [(word, tag, [(answer, answer == tag) for answer in answers]) for word, tag, answers in lines],
        "who": [role.label for role in evaluation.predictions],
    }


def _card(position: int, evaluation: Evaluation, loss: float) -> dict[str, Any]:
    subject, row = evaluation.subject, int(evaluation.index[position])
    task, names, target = subject.run.task, subject.run.classes, evaluation.target[position]
    if task.targets == "masks":
        return mask_pictures.card(position, evaluation, loss)
    answers = [
        {
            "who": role.label,
            "right": None,
            "probability": "",
            "answer": outputs.described(task.predicted_values(prediction.logits[position].float(), names, target)),
        }
        for role, prediction in evaluation.predictions.items()
    ]
    return {
        **shown(subject.data.show(subject.split, row)), "answers": answers, "index": row,
        "file": subject.data.file(subject.split, row), "measure": f"loss {loss:.2f}",
        "class": outputs.true_values(task, target, names), **_sentence(position, evaluation),
    }  # fmt: skip
