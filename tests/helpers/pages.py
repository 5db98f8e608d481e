"""The figures of a page."""

import json
import re

FIGURE = re.compile(
    r"<h3>(?P<heading>[^<]*)</h3>(?:(?!<h3>).)*?aria-label=\"(?P<label>[^\"]*)\"[^>]*>"
    r"<script type=\"application/json\">(?P<json>[^<]*)</script>",
    re.DOTALL,
)


def figures(path):
    """The Plotly figures of a page by heading, each as its JSON."""
    return {match["heading"]: json.loads(match["json"]) for match in FIGURE.finditer(path.read_text())}
