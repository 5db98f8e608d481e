"""report.html of a run."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from distill.evaluation.evaluate import Evaluation
from distill.evaluation.reporting import figures
from distill.evaluation.reporting.charts import Figure, legend, reliability_diagram, render
from distill.evaluation.reporting.table import rows, said, title
from distill.utils.units import percent

TEMPLATES = Path(__file__).parent / "templates"


def tiles(results: dict[str, Any], reference: str | None) -> list[dict[str, str]]:
    """The headline ratios: a number, what it is, the two values behind it."""
    student = results["models"]["student"]
    if reference is None:
        return [
            {"value": percent(student["acc"]), "label": "top-1", "detail": f"{results['samples']} images"},
            {"value": percent(student["ece"]), "label": "calibration error", "detail": "ECE, 15 bins"},
        ]
    other, beside = results["models"][reference], results["versus"][reference]
    kept = student["acc"] / max(other["acc"], 1e-12)
    found = [
        {
            "value": f"{100 * kept:.1f} %",
            "label": "of the accuracy kept",
            "detail": f"{percent(student['acc'])} of {percent(other['acc'])}",
        }
    ]
    cells = {row.label: row.cells for row in rows(results)}
    if student["measured"] and other["measured"]:
        for key, label, row, more in (
            ("parameters", "fewer parameters", "parameters", False),
            ("macs", "fewer multiply-accumulates", "multiply-accumulates", False),
            ("latency_ms", "faster, one image", "latency, batch 1", False),
            ("throughput", "the throughput", "throughput", True),
        ):
            pair = student["measured"][key], other["measured"][key]
            if None in pair:
                continue
            ratio = pair[0] / pair[1] if more else pair[1] / max(pair[0], 1e-12)
            values = (cells[row][role].replace(" ", "\N{NO-BREAK SPACE}") for role in ("student", reference))
            detail = " beside ".join(values)
            found.append({"value": f"{ratio:.2f} ×", "label": label, "detail": detail})
    found.append(
        {
            "value": f"{100 * beside['agreement']:.1f} %",
            "label": f"agreement with the {title(reference)}",
            "detail": f"KL {beside['kl']:.3f} nats",
        }
    )
    return found


def lead(results: dict[str, Any], reference: str | None) -> str:
    """The page in a sentence."""
    models = results["models"]
    student, where = models["student"], f"the {results['split']} images of {results['data']}"
    text = f"{student['name']} is right on {percent(student['acc'])} of {where}"
    if reference is not None:
        text += f", the {title(reference)} {models[reference]['name']} on {percent(models[reference]['acc'])}"
    if "alone" in models and reference != "alone":
        gain = 100 * (student["acc"] - models["alone"]["acc"])
        change = f"{abs(gain):.2f} points {'gained' if gain > 0 else 'lost'}" if round(gain, 2) else "no difference"
        text += f". Trained alone it reaches {percent(models['alone']['acc'])}: {change}"
    return f"{text}."


def per_class(results: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Every class with each model's accuracy; empty where there are too many to read."""
    if len(results["classes"]) > figures.READABLE:
        return []
    return [
        (name, [percent(model["per_class"][i]) or "no images" for model in results["models"].values()])
        for i, name in enumerate(results["classes"])
    ]


def page(evaluation: Evaluation, kind: str) -> str:
    """The page as HTML, complete in itself.

    Args:
        evaluation: what is shown.
        kind: of the map of embeddings: "tsne", "pca" or "none".
    """
    results, reference, subject = evaluation.results, evaluation.reference, evaluation.subject
    found_maps, classes = figures.maps(evaluation, kind) if kind != "none" else ([], [])
    report, place = subject.run.report, subject.run.report["hardware"]
    diagrams = [
        Figure(
            f"{title(role)} {model['name']}: ECE {percent(model['ece'])}",
            reliability_diagram(
                model["reliability"], figures.tone(role, reference), f"reliability of the {title(role)}"
            ),
        )
        for role, model in results["models"].items()
    ]
    return render(
        "run.html",
        TEMPLATES,
        results=results,
        student=results["models"]["student"]["name"],
        beside=f"{results['models'][reference]['name']}" if reference else None,
        reference=title(reference) if reference else None,
        lead=lead(results, reference),
        tiles=tiles(results, reference),
        roles=[(title(role), model["name"]) for role, model in results["models"].items()],
        rows=[(row.label, list(row.cells.values())) for row in rows(results)],
        per_class=per_class(results),
        said=said(results),
        learning=figures.learning(evaluation),
        learning_legend=legend(
            [("validation", "student", ""), ("training", "student", "dashed")]
            + ([("student alone, validation", "alone", "")] if subject.alone else [])
        ),
        diagrams=diagrams,
        outcomes=figures.outcomes(evaluation),
        shifted=figures.shifted(evaluation),
        difference=figures.differences(evaluation),
        maps=found_maps,
        map_legend=legend(classes),
        map_kind={"tsne": "t-SNE", "pca": "PCA"}.get(kind, ""),
        mapped=len(evaluation.mapped),
        examples=figures.examples(evaluation),
        train_command=report["command"],
        evaluate_command=results["command"],
        config=OmegaConf.to_yaml(OmegaConf.create(subject.run.config)),
        versions=", ".join(f"{name} {version}" for name, version in report["versions"].items()),
        hardware=", ".join(f"{name} {value}" for name, value in place.items() if value is not None and name != "pid"),
        seed=report["seed"],
        commit=report["git_commit"],
    )
