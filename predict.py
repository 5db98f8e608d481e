"""Classifies images with the student of a finished run.

python predict.py run=outputs/2026-01-31/12-00-00 images/*.jpg
"""

from distill.cli.predict import main

if __name__ == "__main__":
    main()
