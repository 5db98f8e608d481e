"""The charts of a run's page, each from an evaluation."""

from typing import Any

import torch
from markupsafe import Markup

from distill.evaluation.compare_predictions import most
from distill.evaluation.embedding_map import project
from distill.evaluation.evaluate import Evaluation, sample
from distill.evaluation.learning_curves import curves
from distill.evaluation.reporting.charts import (
    Bar,
    Figure,
    Line,
    Point,
    bars,
    data_uri,
    heatmap,
    lines,
    reliability_diagram,
    scatter,
)
from distill.evaluation.results import ClassChange
from distill.evaluation.scores import losses
from distill.training.roles import BASELINE, STUDENT, TEACHER, TEACHERS, Role
from distill.utils.units import percent

READABLE = 20  # largest number of classes whose confusion matrix is shown
TONES = {STUDENT: "student", TEACHER: "teacher", TEACHERS: "teacher", BASELINE: "alone"}
LABELS = {"acc": "top-1", "top5": "top-5", "hard": "hard (cross-entropy)", "loss": "loss (total)"}
SHARES = ("acc", "top5", "agreement")
CARDS = 12


def tone(role: Role, reference: Role | None = None) -> str:
    """The colour of a role; the model that the student is compared with has the teacher's."""
    return "teacher" if role == reference else TONES.get(role, "other")


def learning(evaluation: Evaluation) -> list[Figure]:
    """A chart per logged quantity, with the curves of the student trained alone."""
    baseline = evaluation.subject.baseline
    baseline_curves = curves(baseline.folder) if baseline else {}
    figures = []
    for name, by_split in curves(evaluation.subject.run.folder).items():
        series = [Line(split, points, "student", dashed=split == "train") for split, points in by_split.items()]
        if name in ("acc", "top5", "hard") and "val" in baseline_curves.get(name, {}):
            series.append(Line("alone, val", baseline_curves[name]["val"], "alone"))
        label = LABELS.get(name, name)
        figures.append(Figure(label, lines(series, f"{label} over the epochs", share=name in SHARES)))
    return figures


def differences(evaluation: Evaluation) -> Figure | None:
    """The student's confusion matrix less the other model's; of many classes the largest differences as bars."""
    models, role = evaluation.results.models, evaluation.reference
    if role is None:
        return None
    student, other = (torch.tensor(models[each].scores.confusion) for each in (STUDENT, role))
    change, names = student - other, evaluation.subject.run.classes
    if len(names) <= READABLE:
        chart = heatmap(change.tolist(), names, f"confusion of the student less the {role.label}'s")
        return Figure(f"images, student − {role.label}", chart)
    change.fill_diagonal_(0)
    cells = [(divmod(i, len(names)), int(change.flatten()[i])) for i in most(change.flatten().abs(), shown=READABLE)]
    rows = [
        Bar(f"{names[true]} → {names[predicted]}", value, f"{value:+d}", "student" if value > 0 else "teacher")
        for (true, predicted), value in cells
        if value
    ]
    return Figure(f"the {len(rows)} confusions that changed most (true → answer), images", bars(rows))


def shifted(evaluation: Evaluation) -> list[Figure]:
    """The classes that lost and gained most."""
    if evaluation.reference is None:
        return []
    changes = evaluation.results.comparisons[evaluation.reference]
    largest = max([0.0, *(abs(each.change) for each in (*changes.lost, *changes.gained))])

    def bar(each: ClassChange, colour: str) -> Bar:
        text = f"{100 * each.change:+.1f} ({100 * each.other:.1f} → {100 * each.student:.1f} %)"
        return Bar(each.name, each.change, text, colour)

    return [
        Figure(heading, bars([bar(each, colour) for each in most_changed], largest) if most_changed else Markup("none"))
        for most_changed, heading, colour in (
            (changes.lost, "lost most, points", "teacher"),
            (changes.gained, "gained most, points", "student"),
        )
    ]


def outcomes(evaluation: Evaluation) -> Markup | None:
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
    return bars([Bar(label, n.share, f"{n.count} ({percent(n.share)})", colour) for label, n, colour in counts], 1)


def reliability(evaluation: Evaluation) -> list[Figure]:
    """The reliability diagram of every model."""
    figures = []
    for role, model in evaluation.results.models.items():
        bins, colour = [vars(each) for each in model.scores.reliability], tone(role, evaluation.reference)
        chart = reliability_diagram(bins, colour, f"reliability of the {role.label}")
        figures.append(Figure(f"{role.label} {model.name}: ECE {percent(model.scores.ece)}", chart))
    return figures


def maps(evaluation: Evaluation, method: str) -> tuple[list[Figure], list[tuple[str, str, str]]]:
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
            Point(x, y, tones.get(true, "rule"), true != guess, f"{classes[true]}, answered {classes[guess]}")
            for (x, y), true, guess in zip(coordinates, target.tolist(), predicted, strict=True)
        ]
        name = evaluation.results.models[role].name
        figures.append(Figure(f"{role.label} {name}", scatter(points, f"map of the {role.label}'s embeddings")))
    others = [("other classes", "rule", "spot")] if len(classes) > 10 else []
    return figures, [*((classes[number], colour, "spot") for number, colour in tones.items()), *others]


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
    facts = sample(position, models, evaluation.target, evaluation.index, subject.run.classes)
    image = subject.data.image(subject.split, facts["index"])
    size = max(image.shape[1:]) if isinstance(image, torch.Tensor) else max(image.size)
    answers = [
        {
            "who": role.label, "right": prediction["answer"] == facts["class"], "answer": prediction["answer"],
            "probability": f"{100 * prediction['probability']:.0f} %",
        }
        for role, prediction in ((role, facts[str(role)]) for role in models)
    ]  # fmt: skip
    return {"uri": data_uri(image), "small": size <= 64, "answers": answers, **facts}
