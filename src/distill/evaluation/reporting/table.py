"""An evaluation as rows: for the terminal and for the page."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from distill.utils.units import percent, short


class Row(NamedTuple):
    """One number of every model: its label, and its text by role (empty where there is none)."""

    label: str
    cells: dict[str, str]


COUNTED: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("top-1", "acc", percent),
    ("top-5", "top5", percent),
    ("macro F1", "macro_f1", percent),
    ("NLL, nats", "nll", "{:.4f}".format),
    ("Brier score", "brier", "{:.4f}".format),
    ("ECE, 15 bins", "ece", percent),
)
MEASURED: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("parameters", "parameters", short),
    ("multiply-accumulates", "macs", short),
    ("size on disk", "bytes", lambda value: short(value, "B")),
    ("latency, batch 1", "latency_ms", lambda value: f"{value:.2f} ms"),
    ("throughput", "throughput", lambda value: short(value, "/s")),
)


def title(role: str) -> str:
    """What a role is called: "student alone", "assistant 1"."""
    return "student alone" if role == "alone" else role.replace("_", " ")


def rows(results: dict[str, Any]) -> list[Row]:
    """Every number that at least one model has."""
    models, versus = results["models"], results["versus"]

    def row(label: str, cell: Any) -> Row:
        return Row(label, {role: cell(role) for role in models})

    found = [
        row(label, lambda role, key=key, form=form: "" if models[role][key] is None else form(models[role][key]))
        for label, key, form in COUNTED
    ]
    beside: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
        ("student agrees with it", "agreement", percent),
        ("KL(it ‖ student), nats", "kl", "{:.4f}".format),
    )
    for label, key, form in beside:
        found.append(row(label, lambda role, key=key, form=form: form(versus[role][key]) if role in versus else ""))
    for label, key in (
        ("student right, it wrong", "only_student_right"),
        ("student wrong, it right", "only_other_right"),
    ):

        def share(role: str, key: str = key) -> str:
            return percent(versus[role][key]["share"]) if role in versus else ""

        found.append(row(label, share))
    for label, key, form in MEASURED:

        def measure(role: str, key: str = key, form: Any = form) -> str:
            value = (models[role]["measured"] or {}).get(key)
            return "" if value is None else str(form(value))

        found.append(row(label, measure))
    return [each for each in found if any(each.cells.values())]


def table(results: dict[str, Any]) -> Table:
    """Every model side by side."""
    where = f"{results['data']}, {results['split']}, {results['samples']} images"
    view = Table(title=Text(f"{where}, {results['hardware']['device']}, {results['precision']}"))
    view.add_column("")
    for role, model in results["models"].items():
        view.add_column(Text(f"{title(role)}\n{model['name']}"), justify="right")
    for row in rows(results):
        view.add_row(row.label, *row.cells.values())
    return view


def changes(results: dict[str, Any]) -> list[str]:
    """The classes that lost and gained most beside the first other model, a line each."""
    if not results["versus"]:
        return []
    role, found = next(iter(results["versus"].items()))
    lines = []
    for key, word in (("lost", "lost most"), ("gained", "gained most")):
        named = [f"{row['class']} {100 * row['change']:+.1f}" for row in found[key][:5]]
        lines.append(f"{word} beside the {title(role)}, points: {', '.join(named) or 'none'}")
    return lines


def said(results: dict[str, Any]) -> str:
    """Whether the run's own numbers came out again, in a line."""
    found = results["reproduced"]
    if found is None:
        return "the run has no numbers of its own for this (other images or batches), so none are compared"
    if not found["equal"]:
        return "the run's own numbers did not come out again: see reproduced in evaluation.json"
    names = {"acc": "top-1", "top5": "top-5", "agreement": "agreement", "hard": "cross-entropy"}
    return f"equal to the run's own summary.json: {', '.join(names[name] for name in found['values'])}"


def show(results: dict[str, Any], files: list[Path]) -> None:
    """Prints the table, what changed, and where everything is."""
    console = Console(width=None if Console().is_terminal else 120)
    console.print(table(results))
    for line in [*changes(results), said(results), f"results: {', '.join(map(str, files))}"]:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
