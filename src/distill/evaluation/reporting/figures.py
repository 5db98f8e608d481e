"""The charts of a run's page, each from an evaluation."""

from typing import Any

import torch
from markupsafe import Markup

from distill.evaluation.compare_predictions import most
from distill.evaluation.embedding_map import place
from distill.evaluation.evaluate import Evaluation, sample
from distill.evaluation.learning_curves import curves
from distill.evaluation.reporting.charts import Bar, Figure, Line, Point, bars, data_uri, heatmap, lines, scatter
from distill.evaluation.reporting.table import title
from distill.evaluation.scores import losses

READABLE = 20  # classes up to which a square of them can be read
TONES = {"student": "student", "teacher": "teacher", "teachers": "teacher", "alone": "alone"}
LABELS = {"acc": "top-1", "top5": "top-5", "hard": "hard (cross-entropy)", "loss": "loss (total)"}
SHARES = ("acc", "top5", "agreement")
CARDS = 12


def tone(role: str, reference: str | None = None) -> str:
    """The colour of a role; whom the student is shown beside has the teacher's."""
    return "teacher" if role == reference else TONES.get(role, "other")


def learning(evaluation: Evaluation) -> list[Figure]:
    """A chart per logged quantity; the accuracy of the student alone beside it."""
    own = curves(evaluation.subject.run.folder)
    alone = evaluation.subject.alone
    other = curves(alone.folder) if alone else {}
    found = []
    for name, by_split in own.items():
        series = [Line(split, points, "student", dashed=split == "train") for split, points in by_split.items()]
        if name in ("acc", "top5", "hard") and "val" in other.get(name, {}):
            series.append(Line("alone, val", other[name]["val"], "alone"))
        label = LABELS.get(name, name)
        found.append(Figure(label, lines(series, f"{label} over the epochs", share=name in SHARES)))
    return found


def differences(evaluation: Evaluation) -> Figure | None:
    """Confusions of the student less those of whom it is shown beside: a square, or the largest as bars."""
    models, role = evaluation.results["models"], evaluation.reference
    if role is None:
        return None
    confusion = [torch.tensor(models[each]["confusion"]) for each in ("student", role)]
    change, names = confusion[0] - confusion[1], evaluation.subject.run.classes
    if len(names) <= READABLE:
        chart = heatmap(change.tolist(), names, f"confusion of the student less the {title(role)}'s")
        return Figure(f"images, student − {title(role)}", chart)
    off = change.clone().fill_diagonal_(0)
    order = off.flatten().abs().argsort(descending=True, stable=True)[:READABLE].tolist()
    pairs = [(divmod(at, len(names)), int(off.flatten()[at])) for at in order]
    rows = [
        Bar(f"{names[i]} → {names[j]}", value, f"{value:+d}", "student" if value > 0 else "teacher")
        for (i, j), value in pairs
        if value
    ]
    return Figure(f"the {len(rows)} confusions that changed most (true → answer), images", bars(rows))


def shifted(evaluation: Evaluation) -> list[Figure]:
    """The classes that lost and gained most."""
    if evaluation.reference is None:
        return []
    found, largest = evaluation.results["versus"][evaluation.reference], 0.0
    for key in ("lost", "gained"):
        largest = max([largest, *(abs(row["change"]) for row in found[key])])

    def bar(row: dict[str, Any], colour: str) -> Bar:
        text = f"{100 * row['change']:+.1f} ({100 * row['other']:.1f} → {100 * row['student']:.1f} %)"
        return Bar(row["class"], row["change"], text, colour)

    return [
        Figure(heading, bars([bar(row, colour) for row in found[key]], largest) if found[key] else Markup("none"))
        for key, heading, colour in (
            ("lost", "lost most, points", "teacher"),
            ("gained", "gained most, points", "student"),
        )
    ]


def outcomes(evaluation: Evaluation) -> Markup | None:
    """Who is right where."""
    if evaluation.reference is None:
        return None
    found, name = evaluation.results["versus"][evaluation.reference], title(evaluation.reference)
    rows = [
        ("both right", "both_right", "k9"),
        (f"only the {name} right", "only_other_right", "teacher"),
        ("only the student right", "only_student_right", "student"),
        ("both wrong", "both_wrong", "bad"),
    ]
    return bars(
        [
            Bar(label, found[key]["share"], f"{found[key]['count']} ({100 * found[key]['share']:.2f} %)", colour)
            for label, key, colour in rows
        ],
        largest=1,
    )


def maps(evaluation: Evaluation, kind: str) -> tuple[list[Figure], list[tuple[str, str, str]]]:
    """The same images in the embedding of every model that has one, and the legend of the classes."""
    where, classes = evaluation.mapped, evaluation.subject.run.classes
    target = evaluation.target[where]
    common = target.bincount(minlength=len(classes)).argsort(descending=True, stable=True)[:10].sort().values.tolist()
    tones = {number: f"k{i}" for i, number in enumerate(common)}
    found = []
    for role, answers in evaluation.answers.items():
        if answers.embedding is None:
            continue
        places, said = place(answers.embedding, kind).tolist(), answers.logits[where].argmax(1).tolist()
        points = [
            Point(x, y, tones.get(true, "rule"), true != guess, f"{classes[true]}, answered {classes[guess]}")
            for (x, y), true, guess in zip(places, target.tolist(), said, strict=True)
        ]
        name = evaluation.results["models"][role]["name"]
        found.append(Figure(f"{title(role)} {name}", scatter(points, f"map of the {title(role)}'s embeddings")))
    others = [("other classes", "rule", "spot")] if len(classes) > 10 else []
    return found, [*((classes[number], colour, "spot") for number, colour in tones.items()), *others]


def examples(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Groups of images with what every model answers: the hardest, and where one of two is right."""
    student, target = evaluation.answers["student"].logits, evaluation.target
    loss = losses(student, target)
    groups = [("hardest", "The hardest: highest loss of the student", most(loss, shown=CARDS))]
    if evaluation.reference is not None:
        name = title(evaluation.reference)
        other = evaluation.answers[evaluation.reference].logits
        right, taught = student.argmax(1) == target, other.argmax(1) == target
        gap = losses(other, target) - loss
        groups += [
            ("lost", f"Only the {name} is right", most(-gap, ~right & taught, CARDS)),
            ("won", "Only the student is right", most(gap, right & ~taught, CARDS)),
        ]
    return [
        {"key": key, "heading": heading, "cards": [_card(place, evaluation) for place in places]}
        for key, heading, places in groups
        if places
    ]


def _card(place: int, evaluation: Evaluation) -> dict[str, Any]:
    found = sample(place, evaluation)
    image = evaluation.subject.data.image(evaluation.subject.split, found["index"])
    size = max(image.shape[1:]) if isinstance(image, torch.Tensor) else max(image.size)
    answers = [
        {
            "who": title(role), "right": found[role]["answer"] == found["class"], "answer": found[role]["answer"],
            "probability": f"{100 * found[role]['probability']:.0f} %",
        }
        for role in evaluation.answers
    ]  # fmt: skip
    return {"uri": data_uri(image), "small": size <= 64, "answers": answers, **found}
