"""Texts and a tokenizer for ``make demo-text``: first paragraphs of the installed packages' docstrings, by package."""

import argparse
import ast
import importlib.util
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("torch", "scipy", "sklearn", "transformers")
FILES, TEXTS = 250, 600  # of a package, at most
WORDS = (6, 40)  # fewest and most of a text
VOCABULARY = 4000


def first_paragraphs(package: str) -> Iterator[str]:
    """The first paragraphs of a package's docstrings, of some of its files, which are read and not imported."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    root = Path(spec.origin).parent
    files = sorted(path for path in root.rglob("*.py") if "test" not in str(path.relative_to(root)))
    for path in random.Random(0).sample(files, min(FILES, len(files))):
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                yield " ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split())


def texts(package: str) -> list[str]:
    """Some of them: of a usual length, each once, none with the name of a package, at random but always the same."""
    named = re.compile("|".join((*PACKAGES, "pytorch", "scikit", "hugging")), re.IGNORECASE)
    least, most = WORDS
    found = {text for text in first_paragraphs(package) if least <= len(text.split()) <= most}
    usable = sorted(text for text in found if not named.search(text))
    return random.Random(0).sample(usable, min(TEXTS, len(usable)))


def train_tokenizer(lines: list[str], folder: Path) -> None:
    """A BERT tokenizer with word pieces learnt from the texts."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizer

    trainer = BertWordPieceTokenizer()
    trainer.train_from_iterator(lines, vocab_size=VOCABULARY, show_progress=False)
    folder.mkdir(parents=True, exist_ok=True)
    trainer.save_model(str(folder))
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)


def main() -> None:
    """Write ``docstrings.jsonl`` and ``tokenizer/`` into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    rows = [{"text": text, "label": package} for package in PACKAGES for text in texts(package)]
    folder.mkdir(parents=True, exist_ok=True)
    train_tokenizer([row["text"] for row in rows], folder / "tokenizer")
    (folder / "docstrings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(f"{len(rows):,} docstrings of {', '.join(PACKAGES)}: {folder / 'docstrings.jsonl'}")


if __name__ == "__main__":
    main()
