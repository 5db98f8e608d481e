"""Pages from Jinja templates."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Figure:
    """A chart and its heading."""

    heading: str
    chart: Markup


def render(template: str, folder: Path, **values: Any) -> str:
    """A page from a template in ``folder`` that extends ``shell.html``; text is escaped, ``Markup`` is not."""
    environment = Environment(
        loader=FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)
