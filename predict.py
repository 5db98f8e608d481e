"""Predictions for images or texts by the student of a finished run.

python predict.py run=outputs/2026-01-31/12-00-00 images/*.jpg
python predict.py run=outputs/2026-01-31/12-00-00 mails.jsonl notes.txt
"""

from distill.cli.predict import main

if __name__ == "__main__":
    main()
