"""Pages from Jinja templates, complete in themselves: styles, scripts and figures are inside."""

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

TEMPLATES = Path(__file__).parent / "templates"
Legend = list[tuple[str, str, str]]  # names with their colors: (name, CSS variable, "", "dashed" or "spot")


@dataclass(frozen=True)
class Figure:
    """A chart (None: the word "none"), and what stands above it."""

    heading: str
    chart: go.Figure | None
    note: str = ""
    legend: Legend | None = None
    min_width: int = 0  # pixels; narrower pages scroll

    @property
    def json(self) -> Markup:
        """The chart for a script element."""
        return _in_script(self.chart.to_json() if self.chart is not None else "")


def as_script(content: Any) -> Markup:
    """JSON for a script element."""
    return _in_script(json.dumps(content))


def _in_script(text: str) -> Markup:
    """JSON in which ``<`` ends no script element."""
    return Markup(text.replace("<", "\\u003c"))


def environment(folder: Path) -> Environment:
    """Templates of a folder, and those that all pages share; text is escaped."""
    return Environment(
        loader=FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, folder: Path, **values: Any) -> str:
    """A page from a template in ``folder`` that extends ``shell.html``; text is escaped.

    The page's policy lets its browser run these scripts only, by their hashes: Plotly's, the charts', its own.
    """
    own = [path for path in (TEMPLATES / "charts.js", folder / template.replace(".html", ".js")) if path.is_file()]
    scripts = [get_plotlyjs(), *(path.read_text(encoding="utf-8") for path in own)]
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    policy = Markup(" ".join(f"'sha256-{digest}'" for digest in digests))
    return (
        environment(folder).get_template(template).render(scripts=map(Markup, scripts), script_policy=policy, **values)
    )
