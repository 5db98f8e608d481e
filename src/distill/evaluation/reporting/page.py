"""The page report.html of a run."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from distill.evaluation.evaluate import Evaluation
from distill.evaluation.reporting import embedding_figures, figures, language_figures, output_figures
from distill.evaluation.reporting.images import pointed_at
from distill.evaluation.reporting.rendering import as_script, render
from distill.evaluation.reporting.table import reproduction, rows
from distill.evaluation.results import EvaluatedModel, EvaluationResults, MetricScores
from distill.tasks.info import Metric
from distill.training.roles import BASELINE, STUDENT, Role
from distill.utils.units import percent, times

TEMPLATES = Path(__file__).parent / "templates"


def tiles(results: EvaluationResults, reference: Role | None) -> list[dict[str, str]]:
    """The headline numbers: each with its label and the two values that it compares."""
    student, score = results.models[STUDENT], _score(results)
    value = _value(student, score)
    if reference is None:
        headline = [{"value": score.display(value), "label": score.label, "detail": f"{results.samples} samples"}]
        if results.task.has_classes:
            ece = percent(student.scores.ece)
            headline.append({"value": ece, "label": "calibration error", "detail": "ECE, 15 bins"})
        return headline
    other = results.models[reference]
    theirs = _value(other, score)
    relative = score.relative(value, theirs)
    label = f"{score.word} relative to the {reference.label}"
    values = f"{score.display(value)} of {score.display(theirs)}"
    headline = [{"value": f"{100 * relative:.1f} %", "label": label, "detail": values}]
    cells = {row.label: row.cells for row in rows(results)}
    for record, key, label, row, more_is_better in (
        ("size", "parameters", "fewer parameters", "parameters", False),
        ("size", "macs", "fewer multiply-accumulates", "multiply-accumulates", False),
        ("speed", "latency_ms", "faster, one sample", "latency p50, batch 1", False),
        ("speed", "throughput", "the throughput", "throughput", True),
    ):
        costs: list[Any] = [getattr(getattr(model, record), key, None) for model in (student, other)]
        if None in costs:
            continue
        ratio = costs[0] / costs[1] if more_is_better else costs[1] / max(costs[0], 1e-12)
        detail = " beside ".join(cells[row][role].replace(" ", "\N{NO-BREAK SPACE}") for role in (STUDENT, reference))
        headline.append({"value": f"{times(ratio)} ×", "label": label, "detail": detail})
    return [*headline, *_agreement(results, reference)]


def _score(results: EvaluationResults) -> Metric:
    """The metric of the headline: the task's score, or its first metric that was computed here."""
    task, known = results.task, _values(results.models[STUDENT])
    return next(metric for metric in (task.against_labels, *task.metrics) if metric.name in known)


def _values(model: EvaluatedModel) -> dict[str, float]:
    """A model's scores by the names of the task's metrics."""
    if isinstance(model.scores, MetricScores):
        return model.scores.metrics
    return {"f1": model.scores.macro_f1} | {
        name: value for name, value in vars(model.scores).items() if value is not None
    }


def _value(model: EvaluatedModel, score: Metric) -> float:
    return _values(model)[score.name]


def _agreement(results: EvaluationResults, reference: Role) -> list[dict[str, str]]:
    """How far the student predicts as another model."""
    comparison = results.comparisons[reference]
    if not results.task.has_classes:
        metrics = [metric for metric in results.task.metrics if metric.name in comparison.metrics]
        return [
            {"value": m.display(comparison.metrics[m.name]), "label": m.label, "detail": f"the {reference.label}'s"}
            for m in metrics
        ]
    agreement, label = f"{100 * comparison.agreement:.1f} %", f"{reference.label}–student agreement"
    detail = f"KL({reference.label}‖student) {comparison.kl:.3f} nats"
    return [{"value": agreement, "label": label, "detail": detail}]


def lead(results: EvaluationResults, reference: Role | None) -> str:
    """The result in a sentence."""
    if not results.task.has_classes:
        return _metric_lead(results, reference)
    student, acc = results.models[STUDENT].name, {role: model.scores.acc for role, model in results.models.items()}
    text = f"{student} is right on {percent(acc[STUDENT])} of the {results.split} samples of {results.data}"
    if reference is not None:
        text += f", the {reference.label} {results.models[reference].name} on {percent(acc[reference])}"
    if BASELINE in acc and reference != BASELINE:
        gain = 100 * (acc[STUDENT] - acc[BASELINE])
        change = f"{abs(gain):.2f} points {'gained' if gain > 0 else 'lost'}" if round(gain, 2) else "no difference"
        text += f". Without distillation it reaches {percent(acc[BASELINE])}: {change}"
    return f"{text}."


def _metric_lead(results: EvaluationResults, reference: Role | None) -> str:
    """The result in a sentence, of a task without classes."""
    score = _score(results)
    values = {role: _value(model, score) for role, model in results.models.items()}
    text = f"{results.models[STUDENT].name} has {score.label} {score.display(values[STUDENT])} on the "
    text += f"{results.samples} {results.split} samples of {results.data}"
    if reference is not None:
        text += f", the {reference.label} {results.models[reference].name} {score.display(values[reference])}"
    if BASELINE in values and reference != BASELINE:
        change = score.difference(values[STUDENT], values[BASELINE])
        text += f". Without distillation it reaches {score.display(values[BASELINE])}: {change}"
    return f"{text}."


def per_class(results: EvaluationResults) -> list[tuple[str, list[str]]]:
    """Top-1 accuracy per class of each model; empty where there are more than ``READABLE`` classes."""
    if len(results.classes) > figures.READABLE:
        return []
    return [
        (name, [percent(model.scores.per_class[i]) or "no samples" for model in results.models.values()])
        for i, name in enumerate(results.classes)
    ]


def _per_class_title(results: EvaluationResults) -> str:
    """What stands above the table of single classes."""
    if results.task.has_classes:
        return "accuracy by class"
    return "F1 by type of entity (how many)" if results.models[STUDENT].scores.by_entity else "by output"


def page(evaluation: Evaluation, map_method: str) -> str:
    """The page as one HTML file; ``map_method`` projects the embeddings: "tsne", "pca" or "none"."""
    results, reference, subject = evaluation.results, evaluation.reference, evaluation.subject
    has_classes = results.task.has_classes
    others = {"none": embedding_figures, "next_token": language_figures}
    special: Any = figures if has_classes else others.get(subject.run.task.targets, output_figures)
    has_map = map_method != "none" and hasattr(special, "maps")
    maps, classes = special.maps(evaluation, map_method) if has_map else ([], [])
    rows_of_map = evaluation.index[evaluation.mapped].tolist()
    summary, hardware = subject.run.summary, vars(subject.run.summary.hardware)
    alone = [("student without distillation, validation", "alone", "")] if subject.baseline else []
    return render(
        "run.html",
        TEMPLATES,
        results=results,
        student=results.models[STUDENT].name,
        beside=results.models[reference].name if reference else None,
        reference=reference.label if reference else None,
        lead=lead(results, reference),
        tiles=tiles(results, reference),
        roles=[(role.label, model.name) for role, model in results.models.items()],
        rows=[(row.label, list(row.cells.values())) for row in rows(results)],
        per_class=per_class(results) if has_classes else output_figures.by_output(evaluation),
        per_class_title=_per_class_title(results),
        reproduction=reproduction(results),
        learning=figures.learning(evaluation),
        learning_legend=[("validation", "student", ""), ("training", "student", "dashed"), *alone],
        diagrams=figures.reliability(evaluation) if has_classes else [],
        predicted=[] if has_classes else output_figures.predicted_over_true(evaluation),
        has_classes=has_classes,
        outcomes=figures.outcomes(evaluation) if has_classes else None,
        shifted=figures.shifted(evaluation) if has_classes else [],
        confusion=figures.confusion(evaluation) if has_classes else None,
        difference=figures.differences(evaluation) if has_classes else None,
        maps=maps,
        map_legend=classes,
        map_kind={"tsne": "t-SNE", "pca": "PCA"}.get(map_method, ""),
        mapped=len(evaluation.mapped),
        samples=as_script(pointed_at(subject.data.show(subject.split, row) for row in rows_of_map) if maps else None),
        examples=special.examples(evaluation),
        train_command=summary.command,
        evaluate_command=results.command,
        config=OmegaConf.to_yaml(OmegaConf.create(subject.run.config)),
        versions=", ".join(f"{name} {version}" for name, version in summary.versions.items()),
        hardware=", ".join(f"{name} {v}" for name, v in hardware.items() if v is not None and name != "pid"),
        seed=summary.seed,
        commit=summary.git_commit,
    )
