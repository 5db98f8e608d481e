"""The examples of a language model's run: what every model writes after the same beginnings, and the hardest rows."""

from typing import Any

import torch

from distill.data.text.language import LanguageDataModule
from distill.evaluation.evaluate import Evaluation
from distill.evaluation.reporting import output_figures
from distill.evaluation.reporting.images import shown
from distill.models.text.encoder import TextModel
from distill.models.text.generation import continuations
from distill.training.roles import BASELINE, STUDENT, TEACHER
from distill.utils.errors import shortened

PROMPTS, BEGINNING, WRITTEN = 4, 16, 40  # documents, and tokens of each prompt and continuation


def examples(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Continuations by every model, and the rows with the highest loss of the student."""
    return [*_continued(evaluation), *output_figures.examples(evaluation)]


def _continued(evaluation: Evaluation) -> list[dict[str, Any]]:
    subject = evaluation.subject
    if not isinstance(subject.data, LanguageDataModule):
        return []
    tokenizer = subject.data.loaded.student.tokenizer.whole
    chosen = torch.linspace(0, len(evaluation.index) - 1, min(PROMPTS, len(evaluation.index))).long()
    rows = evaluation.index[chosen].tolist()
    begun = [subject.data.beginning(subject.split, row, BEGINNING) for row in rows]
    prompts, followed = [tokenizer.decode(ids) for ids, _ in begun], [tokenizer.decode(ids) for _, ids in begun]
    baseline = subject.baseline.student if subject.baseline else None
    nets = {TEACHER: subject.run.teacher if subject.teacher else None, STUDENT: subject.run.student, BASELINE: baseline}
    written = {
        role: continuations(net.model.model, tokenizer, prompts, WRITTEN)
        for role, net in nets.items()
        if net is not None and isinstance(net.model, TextModel)
    }
    cards = []
    for i, row in enumerate(rows):
        answers = [_answer(role.label, texts[i]) for role, texts in written.items()]
        cards.append(
            {
                **shown(prompts[i]), "answers": [_answer("the document", shortened(followed[i], 300)), *answers],
                "index": row, "file": subject.data.file(subject.split, row), "class": "",
                "measure": f"{WRITTEN} tokens at most, the likeliest each time",
            }
        )  # fmt: skip
    return [{"key": "written", "heading": "What follows the beginning of a document", "cards": cards}]


def _answer(who: str, text: str) -> dict[str, Any]:
    return {"who": who, "right": None, "probability": "", "answer": text}
