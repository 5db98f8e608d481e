"""Exports the student of a finished run, checks the files on test images, measures them, writes a model card.

python export.py run=outputs/2026-01-31/12-00-00 format=onnx quantize=int8
"""

from distill.cli.export import main

if __name__ == "__main__":
    main()
