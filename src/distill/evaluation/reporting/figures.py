"""The charts of a run's page, each from an evaluation."""

from typing import Any

import torch

from distill.evaluation.compare_predictions import most
from distill.evaluation.embedding_map import project
from distill.evaluation.evaluate import Evaluation, sample
from distill.evaluation.learning_curves import curves
from distill.evaluation.reporting.charts import (
    Bar,
    Dot,
    Line,
    bars,
    confusion_matrix,
    embedding_map,
    lines,
    reliability_diagram,
)
from distill.evaluation.reporting.images import shown
from distill.evaluation.reporting.rendering import Figure, Legend
from distill.evaluation.results import ClassChange
from distill.evaluation.scores import losses
from distill.tasks.info import AGREEMENT
from distill.training.roles import BASELINE, STUDENT, TEACHER, TEACHERS, Role
from distill.utils.units import percent

READABLE = 20  # largest number of classes whose names are beside a confusion matrix
DRAWN = 200  # largest number of classes whose confusion matrix is drawn; evaluation.json has those of more
TONES = {STUDENT: "student", TEACHER: "teacher", TEACHERS: "teacher", BASELINE: "alone"}
CARDS = 12


def tone(role: Role, reference: Role | None = None) -> str:
    """The color of a role; the model that the student is compared with has the teacher's."""
    return "teacher" if role == reference else TONES.get(role, "other")


def learning(evaluation: Evaluation) -> list[Figure]:
    """A chart per logged quantity, with the curves of the student trained alone."""
    baseline = evaluation.subject.baseline
    baseline_curves = curves(baseline.folder) if baseline else {}
    task, figures = evaluation.results.task, []
    metrics = {metric.name: metric for metric in task.metrics}
    labels = {name: metric.label for name, metric in metrics.items()} | {AGREEMENT.name: AGREEMENT.name}
    labels |= {"hard": "hard (cross-entropy)" if task.has_classes else "hard (supervised)", "loss": "loss (total)"}
    for name, by_split in curves(evaluation.subject.run.folder).items():
        series = [Line(split, points, "student", dashed=split == "train") for split, points in by_split.items()]
        if (name == "hard" or name in metrics) and name != AGREEMENT.name and "val" in baseline_curves.get(name, {}):
            series.append(Line("without distillation, val", baseline_curves[name]["val"], "alone"))
        label, share = labels.get(name, name), name in metrics and metrics[name].unit == "share"
        figures.append(Figure(label, lines(series, f"{label} over the epochs", share=share)))
    return figures


def confusion(evaluation: Evaluation) -> Figure | None:
    """The student's confusion matrix; None where it is too large for a page."""
    names = evaluation.subject.run.classes
    if len(names) > DRAWN:
        return None
    heading = "samples, true class (row) and the student's answer (column)"
    counts = evaluation.results.models[STUDENT].scores.confusion
    return Figure(heading, confusion_matrix(counts, names, heading, sign="", labelled=len(names) <= READABLE))


def differences(evaluation: Evaluation) -> Figure | None:
    """The student's confusion matrix less the other model's; of many classes the largest differences as bars."""
    models, role = evaluation.results.models, evaluation.reference
    if role is None:
        return None
    student, other = (torch.tensor(models[each].scores.confusion) for each in (STUDENT, role))
    change, names = student - other, evaluation.subject.run.classes
    if len(names) <= READABLE:
        chart = confusion_matrix(change.tolist(), names, f"confusion of the student less the {role.label}'s")
        return Figure(f"samples, student − {role.label}", chart)
    change.fill_diagonal_(0)
    cells = [(divmod(i, len(names)), int(change.flatten()[i])) for i in most(change.flatten().abs(), shown=READABLE)]
    rows = [
        Bar(f"{names[true]} → {names[predicted]}", value, f"{value:+d}", "student" if value > 0 else "teacher")
        for (true, predicted), value in cells
        if value
    ]
    heading = f"the {len(rows)} confusions that changed most (true → answer), samples"
    return Figure(heading, bars(rows, heading) if rows else None)


def shifted(evaluation: Evaluation) -> list[Figure]:
    """The classes that lost and gained most."""
    if evaluation.reference is None:
        return []
    changes = evaluation.results.comparisons[evaluation.reference]
    largest = max([0.0, *(abs(each.change) for each in (*changes.lost, *changes.gained))])

    def bar(each: ClassChange, color: str) -> Bar:
        text = f"{100 * each.change:+.1f} ({100 * each.other:.1f} → {100 * each.student:.1f} %)"
        return Bar(each.name, each.change, text, color)

    return [
        Figure(heading, bars([bar(each, color) for each in most_changed], heading, largest) if most_changed else None)
        for most_changed, heading, color in (
            (changes.lost, "lost most, points", "teacher"),
            (changes.gained, "gained most, points", "student"),
        )
    ]


def outcomes(evaluation: Evaluation) -> Figure | None:
    """How often both, one or none of two models is right."""
    if evaluation.reference is None:
        return None
    comparison, name = evaluation.results.comparisons[evaluation.reference], evaluation.reference.label
    counts = [
        ("both right", comparison.both_right, "k9"),
        (f"only the {name} right", comparison.only_other_right, "teacher"),
        ("only the student right", comparison.only_student_right, "student"),
        ("both wrong", comparison.both_wrong, "bad"),
    ]
    rows = [Bar(label, n.share, f"{n.count} ({percent(n.share)})", color) for label, n, color in counts]
    return Figure("who is right", bars(rows, "who is right", 1))


def reliability(evaluation: Evaluation) -> list[Figure]:
    """The reliability diagram of every model."""
    figures = []
    for role, model in evaluation.results.models.items():
        color = tone(role, evaluation.reference)
        chart = reliability_diagram(model.scores.reliability, color, f"reliability of the {role.label}")
        figures.append(Figure(f"{role.label} {model.name}: ECE {percent(model.scores.ece)}", chart))
    return figures


def maps(evaluation: Evaluation, method: str) -> tuple[list[Figure], Legend]:
    """A scatter plot of every model's embeddings, and the legend of the classes."""
    mapped, classes = evaluation.mapped, evaluation.subject.run.classes
    target = evaluation.target[mapped]
    common = target.bincount(minlength=len(classes)).argsort(descending=True, stable=True)[:10].sort().values.tolist()
    tones = {number: f"k{i}" for i, number in enumerate(common)}
    figures = []
    for role, predictions in evaluation.predictions.items():
        if predictions.embedding is None:
            continue
        coordinates = project(predictions.embedding, method).tolist()
        predicted = predictions.logits[mapped].argmax(1).tolist()
        points = [
            Dot(x, y, tones.get(true, "rule"), f"{classes[true]}, answered {classes[guess]}", link=i)
            for i, ((x, y), true, guess) in enumerate(zip(coordinates, target.tolist(), predicted, strict=True))
        ]
        is_wrong = (predictions.logits[mapped].argmax(1) != target).tolist()
        chart = embedding_map(points, is_wrong, f"map of the {role.label}'s embeddings")
        figures.append(Figure(f"{role.label} {evaluation.results.models[role].name}", chart))
    others = [("other classes", "rule", "spot")] if len(classes) > 10 else []
    return figures, [*((classes[number], color, "spot") for number, color in tones.items()), *others]


def examples(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Groups of images with every model's prediction: the hardest, and where one of two is right."""
    student, target = evaluation.predictions[STUDENT].logits, evaluation.target
    loss = losses(student, target)
    groups = [("hardest", "The hardest: highest loss of the student", most(loss, shown=CARDS))]
    if evaluation.reference is not None:
        other = evaluation.predictions[evaluation.reference].logits
        right, other_right = student.argmax(1) == target, other.argmax(1) == target
        gap = losses(other, target) - loss
        groups += [
            ("lost", f"Only the {evaluation.reference.label} is right", most(-gap, ~right & other_right, CARDS)),
            ("won", "Only the student is right", most(gap, right & ~other_right, CARDS)),
        ]
    return [
        {"key": key, "heading": heading, "cards": [_card(position, evaluation) for position in positions]}
        for key, heading, positions in groups
        if positions
    ]


def _card(position: int, evaluation: Evaluation) -> dict[str, Any]:
    subject, models = evaluation.subject, evaluation.predictions
    facts = sample(position, subject, models, evaluation.target, evaluation.index)
    answers = [
        {
            "who": role.label, "right": prediction["answer"] == facts["class"], "answer": prediction["answer"],
            "probability": f"{100 * prediction['probability']:.0f} %",
        }
        for role, prediction in ((role, facts[str(role)]) for role in models)
    ]  # fmt: skip
    measure = f"loss {facts['student']['loss']:.2f}"
    return {
        "answers": answers,
        "file": None,
        "measure": measure,
        **facts,
        **shown(subject.data.show(subject.split, facts["index"])),
    }
