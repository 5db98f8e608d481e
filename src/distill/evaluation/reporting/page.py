"""The page report.html of a run."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from distill.evaluation.evaluate import Evaluation
from distill.evaluation.reporting import figures
from distill.evaluation.reporting.charts import legend, render
from distill.evaluation.reporting.table import reproduction, rows
from distill.evaluation.results import EvaluationResults
from distill.training.roles import BASELINE, STUDENT, Role
from distill.utils.units import percent

TEMPLATES = Path(__file__).parent / "templates"


def tiles(results: EvaluationResults, reference: Role | None) -> list[dict[str, str]]:
    """The headline numbers: each with its label and the two values that it compares."""
    student = results.models[STUDENT]
    acc = student.scores.acc
    if reference is None:
        return [
            {"value": percent(acc), "label": "top-1", "detail": f"{results.samples} images"},
            {"value": percent(student.scores.ece), "label": "calibration error", "detail": "ECE, 15 bins"},
        ]
    other, comparison = results.models[reference], results.comparisons[reference]
    kept = acc / max(other.scores.acc, 1e-12)
    accuracies = f"{percent(acc)} of {percent(other.scores.acc)}"
    headline = [{"value": f"{100 * kept:.1f} %", "label": "of the accuracy kept", "detail": accuracies}]
    cells = {row.label: row.cells for row in rows(results)}
    for record, key, label, row, more_is_better in (
        ("size", "parameters", "fewer parameters", "parameters", False),
        ("size", "macs", "fewer multiply-accumulates", "multiply-accumulates", False),
        ("speed", "latency_ms", "faster, one image", "latency, batch 1", False),
        ("speed", "throughput", "the throughput", "throughput", True),
    ):
        costs: list[Any] = [getattr(getattr(model, record), key, None) for model in (student, other)]
        if None in costs:
            continue
        ratio = costs[0] / costs[1] if more_is_better else costs[1] / max(costs[0], 1e-12)
        detail = " beside ".join(cells[row][role].replace(" ", "\N{NO-BREAK SPACE}") for role in (STUDENT, reference))
        headline.append({"value": f"{ratio:.2f} ×", "label": label, "detail": detail})
    agreement, label = f"{100 * comparison.agreement:.1f} %", f"agreement with the {reference.label}"
    return [*headline, {"value": agreement, "label": label, "detail": f"KL {comparison.kl:.3f} nats"}]


def lead(results: EvaluationResults, reference: Role | None) -> str:
    """The result in a sentence."""
    student, acc = results.models[STUDENT].name, {role: model.scores.acc for role, model in results.models.items()}
    text = f"{student} is right on {percent(acc[STUDENT])} of the {results.split} images of {results.data}"
    if reference is not None:
        text += f", the {reference.label} {results.models[reference].name} on {percent(acc[reference])}"
    if BASELINE in acc and reference != BASELINE:
        gain = 100 * (acc[STUDENT] - acc[BASELINE])
        change = f"{abs(gain):.2f} points {'gained' if gain > 0 else 'lost'}" if round(gain, 2) else "no difference"
        text += f". Trained alone it reaches {percent(acc[BASELINE])}: {change}"
    return f"{text}."


def per_class(results: EvaluationResults) -> list[tuple[str, list[str]]]:
    """Top-1 accuracy per class of each model; empty where there are more than ``READABLE`` classes."""
    if len(results.classes) > figures.READABLE:
        return []
    return [
        (name, [percent(model.scores.per_class[i]) or "no images" for model in results.models.values()])
        for i, name in enumerate(results.classes)
    ]


def page(evaluation: Evaluation, map_method: str) -> str:
    """The page as one HTML file; ``map_method`` projects the embeddings: "tsne", "pca" or "none"."""
    results, reference, subject = evaluation.results, evaluation.reference, evaluation.subject
    maps, classes = figures.maps(evaluation, map_method) if map_method != "none" else ([], [])
    summary, hardware = subject.run.summary, vars(subject.run.summary.hardware)
    alone = [("student alone, validation", "alone", "")] if subject.baseline else []
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
        per_class=per_class(results),
        reproduction=reproduction(results),
        learning=figures.learning(evaluation),
        learning_legend=legend([("validation", "student", ""), ("training", "student", "dashed"), *alone]),
        diagrams=figures.reliability(evaluation),
        outcomes=figures.outcomes(evaluation),
        shifted=figures.shifted(evaluation),
        difference=figures.differences(evaluation),
        maps=maps,
        map_legend=legend(classes),
        map_kind={"tsne": "t-SNE", "pca": "PCA"}.get(map_method, ""),
        mapped=len(evaluation.mapped),
        examples=figures.examples(evaluation),
        train_command=summary.command,
        evaluate_command=results.command,
        config=OmegaConf.to_yaml(OmegaConf.create(subject.run.config)),
        versions=", ".join(f"{name} {version}" for name, version in summary.versions.items()),
        hardware=", ".join(f"{name} {v}" for name, v in hardware.items() if v is not None and name != "pid"),
        seed=summary.seed,
        commit=summary.git_commit,
    )
