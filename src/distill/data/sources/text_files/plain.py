"""Text files: a text per line, or a word and its tags per line (CoNLL)."""

import re
from pathlib import Path

from distill.data.sources.text_files.lines import lines
from distill.data.sources.text_files.rows import Choices, Collector, Columns, Rows
from distill.data.targets import UNLABELLED
from distill.data.text.problems import problem
from distill.utils.errors import UserError
from distill.utils.files import printable


def text_lines(path: Path, choices: Choices, needs_labels: bool) -> Rows:  # noqa: ARG001
    """A text per line; empty lines are passed over.

    Raises:
        UserError: the task needs labels, or a line is no text.
    """
    if choices.targets not in UNLABELLED:
        raise UserError(
            f"{printable(path)} holds texts without labels: set data.root= to a file with labels (jsonl, csv, tsv, "
            "parquet) or to a folder with a folder of .txt files for each class"
        )
    rows = Collector(path, choices)
    rows.open(Columns(["text"], []))
    for number, line in enumerate(lines(path, choices.encoding), 1):
        if line.strip():
            rows.add(number, {"text": line.rstrip("\r\n")})
    return rows.finish()


def conll(path: Path, choices: Choices, needs_labels: bool) -> Rows:  # noqa: ARG001
    """Sentences of words with tags: a word per line in the first column, its tag in the last, a blank line between.

    Columns are separated by tabs, in a line without one by blanks. Lines that begin with ``-DOCSTART-`` are passed
    over. A broken line takes its sentence with it where ``on_broken`` is skip.

    Raises:
        UserError: a line of one column, or a word that is no text.
    """
    rows = Collector(path, choices)
    rows.open(Columns(["words"], ["tags"]))
    words: list[str] = []
    tags: list[str] = []
    start, is_broken = 0, False
    for number, line in enumerate(lines(path, choices.encoding), 1):
        if not line.strip() or line.startswith("-DOCSTART-"):
            if words and not is_broken:
                rows.add(start, {"words": words, "tags": tags})
            words, tags, is_broken = [], [], False
            continue
        line = line.rstrip("\r\n")
        cells = line.split("\t") if "\t" in line else re.split(" +", line.strip(" "))
        word, tag = cells[0], cells[-1].strip()
        wrong = "one column: a line holds a word and its tag" if len(cells) < 2 else None
        wrong = wrong or problem(word, "word") or problem(tag, "tag")
        if wrong is not None and not is_broken:
            rows.broken(number, wrong)
            is_broken = True
        start = start if words else number
        words.append(word)
        tags.append(tag)
    if words and not is_broken:
        rows.add(start, {"words": words, "tags": tags})
    return rows.finish()
