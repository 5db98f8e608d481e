"""Templates become pages."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

OWN = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Figure:
    """A chart and what is written over it."""

    heading: str
    chart: Markup


def render(template: str, folder: Path, **values: Any) -> str:
    """A page.

    Args:
        template: a file in ``folder`` that extends ``shell.html``.
        folder: of the caller's templates.
        values: what they show; text is escaped, ``Markup`` is not.
    """
    environment = Environment(
        loader=FileSystemLoader([folder, OWN]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)
