"""Evaluates the student of a finished run beside its teacher: evaluation.json and report.html.

python evaluate.py run=outputs/2026-01-31/12-00-00
"""

from distill.cli.evaluate import main

if __name__ == "__main__":
    main()
