"""Small texts, tiny encoders and tokenizers as files: what the commands of a text job need, without network."""

import json
import random
from pathlib import Path

from text_models import WORDS, save_model, save_tokenizer

ANIMALS, VERBS, PLACES, HOW = ("cat", "dog"), ("sat", "ran"), ("mat", "tree"), ("fast", "slow")
SHORT = ("trainer.max_epochs=2", "teacher.recipe.max_epochs=2", "data.batch_size=16", "threads=1")


def save_encoder(folder: Path, words: list[str] = WORDS, head: str = "", seed: int = 0, **settings) -> Path:
    """A tiny BERT and its tokenizer in one folder."""
    save_tokenizer(folder, words)
    return save_model(folder, head=head, seed=seed, **{"vocab_size": len(words) + 3, **settings})


def sentences(n: int, seed: int = 0) -> list[tuple[str, str]]:
    """Sentences of 3 to 11 words and their class, the animal that they begin with."""
    generator = random.Random(seed)
    made = []
    for _ in range(n):
        animal = generator.choice(ANIMALS)
        words = ["the", animal]
        for _ in range(generator.randint(1, 3)):
            words += [generator.choice(VERBS), generator.choice(("on", "under")), generator.choice(PLACES)]
        made.append((" ".join(words + [generator.choice(HOW)] * generator.randint(0, 2)), animal))
    return made


def write_rows(path: Path, rows: list[dict]) -> Path:
    """A jsonl file, or with the suffix .csv or .tsv a table."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        separator = "\t" if path.suffix == ".tsv" else ","
        lines = [list(rows[0]), *(row.values() for row in rows)]
        path.write_text("".join(separator.join(map(str, line)) + "\n" for line in lines))
    return path


def write_texts(folder: Path, n: int = 120) -> Path:
    """Every kind of text that the tasks read, beside encoders of different vocabularies, ``bert`` and ``other``."""
    save_encoder(folder / "bert")
    other = [*WORDS[:5], *reversed(WORDS[5:]), "bird"]
    save_encoder(folder / "other", other, seed=1, hidden_size=48, num_hidden_layers=3)
    made = sentences(n)
    write_rows(folder / "reviews.jsonl", [{"text": text, "label": label} for text, label in made])
    write_rows(
        folder / "pairs.tsv",
        [
            {"sentence1": one, "sentence2": other, "label": "same" if a == b else "different"}
            for (one, a), (other, b) in zip(made, made[1:] + made[:1], strict=True)
        ],
    )
    write_rows(
        folder / "similarity.tsv",  # as STS-B: two sentences and a number
        [
            {"sentence1": one, "sentence2": other, "score": len(one.split()) + len(other.split())}
            for (one, _), (other, _) in zip(made, made[1:] + made[:1], strict=True)
        ],
    )
    write_rows(folder / "length.csv", [{"text": text, "score": len(text.split())} for text, _ in made])
    tags = [{"text": text, **{word: int(word in text) for word in ("sat", "tree", "slow")}} for text, _ in made]
    write_rows(folder / "tags.csv", tags)
    (folder / "texts.txt").write_text("".join(text + "\n" for text, _ in made))
    for number, (text, label) in enumerate(made):
        (folder / "mails" / label).mkdir(parents=True, exist_ok=True)
        (folder / "mails" / label / f"{number}.txt").write_text(text)
    names = {"cat": "B-ANIMAL", "dog": "B-ANIMAL", "mat": "B-PLACE", "tree": "B-PLACE"}
    lines = ["".join(f"{word}\t{names.get(word, 'O')}\n" for word in text.split()) for text, _ in made]
    (folder / "ner.conll").write_text("\n".join(lines))
    return folder
