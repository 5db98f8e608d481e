"""What a sweep found, at any time: a table, results.csv and report.html.

python report.py outputs/sweeps/2026-01-31/12-00-00
"""

from distill.cli.report import main

if __name__ == "__main__":
    main()
