"""Several finished runs side by side: a table, and compare.html.

python compare.py outputs/2026-01-31/12-00-00 outputs/2026-01-31/13-00-00
"""

from distill.cli import commands
from distill.evaluation.compare.compare import ABOUT, Options, compare

if __name__ == "__main__":
    commands.launch(Options, compare, ABOUT, "compare.py", rest="runs")
