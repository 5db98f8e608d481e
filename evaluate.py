"""Evaluates the student of a finished run beside its teacher: evaluation.json and report.html.

python evaluate.py run=outputs/2026-01-31/12-00-00
"""

from distill.cli import commands
from distill.cli.evaluate import evaluate
from distill.cli.evaluate_options import ABOUT, Options

if __name__ == "__main__":
    commands.launch(Options, evaluate, ABOUT, "evaluate.py")
