"""A thousand classes and files of any size: the page stays small and readable."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from distill.evaluation.compare_predictions import compare_predictions, most
from distill.evaluation.evaluate import Evaluation, sample
from distill.evaluation.inference import Predictions
from distill.evaluation.reporting import page as pages
from distill.evaluation.results import EvaluatedModel, EvaluationResults
from distill.evaluation.scores import losses, scores
from distill.training.roles import STUDENT, TEACHER
from distill.utils.output_files import as_json
from summaries import summary

N, C = 3000, 1000


@pytest.fixture(scope="module")
def evaluation():
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, C, (N,), generator=generator)
    truth = 4 * torch.nn.functional.one_hot(target, C)
    logits = {role: truth + torch.randn(N, C, generator=generator) for role in (TEACHER, STUDENT)}
    mapped = torch.arange(0, N, 3)
    predictions = {
        role: Predictions(z, torch.randn(len(mapped), 16, generator=generator)) for role, z in logits.items()
    }
    classes = tuple(f"class number {i} of a long name" for i in range(C))
    models = {role: EvaluatedModel(str(role), scores(z, target), None, None) for role, z in logits.items()}
    facts = summary()
    hard = most(losses(logits[STUDENT], target), shown=24)
    results = EvaluationResults(
        run="r", weights="student.safetensors", epoch=1, data="many", split="test", samples=N, against=None,
        batch_size=64, precision="32-true", reproduced=None, models=models,
        comparisons={TEACHER: compare_predictions(logits[STUDENT], logits[TEACHER], target, classes)},
        classes=list(classes), hardware=facts.hardware,
        versions={}, git_commit=None, command="python evaluate.py run=r",
        hardest=[],
    )  # fmt: skip
    run = SimpleNamespace(folder=SimpleNamespace(glob=lambda _: []), classes=classes, summary=facts, config={"a": 1})
    data = SimpleNamespace(
        file=lambda _, row: f"photos/{row}.png",
        show=lambda *_: torch.randint(0, 255, (3, 400, 300), dtype=torch.uint8),
    )
    subject = SimpleNamespace(run=run, baseline=None, data=data, split="test")
    results = replace(
        results, hardest=[sample(position, subject, predictions, target, torch.arange(N)) for position in hard]
    )
    return Evaluation(results, predictions, target, torch.arange(N), mapped, TEACHER, subject)


def test_the_page_of_a_thousand_classes(evaluation):
    text = pages.page(evaluation, "pca")
    assert len(text) < 8e6  # 5 MB are Plotly
    assert "confusions that changed most" in text
    assert "confusion of the student less" not in text
    assert "accuracy by class" not in text
    assert "true class (row)" not in text
    assert "other classes" in text
    assert f"photos/{evaluation.results.hardest[0]['index']}.png" in text


def test_its_json_is_whole(evaluation):
    import json

    content = evaluation.results.as_json()
    text = as_json(content)
    assert len(text) < 10e6
    assert json.loads(text)["models"]["student"]["confusion"] == content["models"]["student"]["confusion"]
