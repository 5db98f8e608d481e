"""Runs of texts with a tiny teacher: their files, and the arguments of their commands."""

import json
from pathlib import Path

from text_helpers import write_jsonl
from text_models import WORDS, save_model, save_tokenizer

NOUNS, PLACES = ("cat", "dog"), ("mat", "tree")
SHORT = ("threads=1", "trainer.max_epochs=12", "teacher.recipe.max_epochs=12", "logger=csv", "model.layers=2",
         "data.batch_size=8", "teacher.recipe.batch_size=8", "optimizer.lr=3e-3",
         "teacher.recipe.optimizer.lr=3e-3")  # fmt: skip


def sentences(n: int) -> list[list[str]]:
    """The words of ``n`` sentences of several lengths, each about a cat or a dog, at a mat or a tree."""
    rows = []
    for i in range(n):
        words = ["the", NOUNS[i % 2], ("sat", "ran")[i // 2 % 2], ("on", "under")[i // 4 % 2]]
        words += ["the", PLACES[i // 8 % 2], *["fast", "slow", "a"][: i % 4]]
        rows.append(words)
    return rows


def rows(task: str, n: int = 240) -> list[dict]:
    """Rows of a file of JSON lines for a task."""
    made = []
    for i, words in enumerate(sentences(n)):
        text = {"text": " ".join(words)}
        if task == "pairs":
            text = {"sentence1": " ".join(words[:4]), "sentence2": " ".join(words[4:]), "label": f"<b>{words[1]}</b>"}
        elif task == "multilabel":
            text["label"] = [word for word in words if word in ("cat", "tree", "fast")]
        elif task == "regression":
            text["score"] = 10.0 * (i % 2) + len(words)
        elif task == "tokens":
            kinds = {**dict.fromkeys(NOUNS, "B-ANIMAL"), **dict.fromkeys(PLACES, "B-PLACE")}
            text = {"tokens": words, "tags": [kinds.get(word, "O") for word in words]}
        elif task != "embedding":
            text["label"] = words[1]
        made.append(text)
    return made


def files(folder: Path) -> Path:
    """A tiny teacher with its tokenizer, in ``folder/bert``."""
    save_model(folder / "bert", max_position_embeddings=64)
    return save_tokenizer(folder / "bert", [*WORDS, "<b>", "##x", "##y"])


def arguments(folder: Path, task: str) -> list[str]:
    """Of the command that trains a run of a task ("pairs": of classification) on ``folder/<task>.jsonl``."""
    write_jsonl(folder / f"{task}.jsonl", rows(task))
    name = "classification" if task == "pairs" else task
    made = ["data=text", f"data.root={folder / f'{task}.jsonl'}", f"task={name}", f"teacher.name={folder / 'bert'}"]
    return [*made, *(each for each in SHORT if task != "embedding" or "recipe" not in each)]


def judged(folder, output, **options):
    """evaluation.json of a run, without the page."""
    from distill.cli.evaluate import Options, evaluate

    evaluate(Options(run=str(folder), output=str(output), **{"report": False, **options}))
    return json.loads(max(output.glob("evaluation*.json"), key=lambda path: path.stat().st_mtime_ns).read_text())


def other(folder, output, path, **options):
    """The same, on other texts."""
    return judged(folder, output, data="text", root=str(path), **options)


def student(found):
    """The student's part of it."""
    return found["models"]["student"]


def score(found, task):
    """Its score of a task."""
    name = {"multilabel": "map", "regression": "rmse", "tokens": "f1"}.get(task)
    return student(found)["acc"] if name is None else student(found)["metrics"][name]
