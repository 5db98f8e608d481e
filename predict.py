"""Classifies images with the student of a finished run.

python predict.py run=outputs/2026-01-31/12-00-00 images/*.jpg
"""

from distill.cli.commands import launch
from distill.cli.predict import ABOUT, Options, main

if __name__ == "__main__":
    launch(Options, main, ABOUT, "predict.py", rest="images")
