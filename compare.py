"""Several finished runs side by side: a table, and compare.html.

python compare.py outputs/2026-01-31/12-00-00 outputs/2026-01-31/13-00-00
"""

from distill.cli.compare import main

if __name__ == "__main__":
    main()
