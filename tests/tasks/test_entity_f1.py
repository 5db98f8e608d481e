"""F1 of entities, against what seqeval 1.2.2 gives for the same tags and against spans found word by word."""

import random

import pytest
import torch
from torchmetrics.utilities import dim_zero_sum

from distill.tasks.entity_f1 import EntityF1

# Expected tags, predicted tags, and the F1 that seqeval 1.2.2 returned (``seqeval.metrics.f1_score``, default mode).
SEQEVAL = [
    # the example of its documentation
    (["O O O B-MISC I-MISC I-MISC O", "B-PER I-PER O"], ["O O B-MISC I-MISC I-MISC I-MISC O", "B-PER I-PER O"], 0.5),
    (["B-NP I-NP O"], ["I-NP I-NP O"], 1.0),  # an I- behind O begins an entity
    (["B-NP I-NP O B-NP"], ["B-NP B-NP O I-NP"], 0.4),
    (["B-PER I-PER I-LOC O"], ["B-PER I-PER B-LOC O"], 1.0),  # an I- of another type begins one
    (["B-PER I-PER", "I-PER O"], ["B-PER I-PER", "B-PER O"], 1.0),  # none goes on in the next text
    (["B-PER I-PER B-PER"], ["B-PER I-PER I-PER"], 0.0),  # both ends must be right
    (["S-LOC B-PER E-PER I-PER"], ["B-LOC B-PER I-PER B-PER"], 1.0),
    (["O O"], ["O O"], 0.0),  # no entity at all
    (["B-A I-B I-A O B-B"], ["B-A B-B I-A I-A I-B"], 0.75),
]


def numbered(texts, tags):
    """Tags as numbers (N, L), padded with −100."""
    rows = [[tags.index(word) for word in text.split()] for text in texts]
    longest = max(map(len, rows))
    return torch.tensor([row + [-100] * (longest - len(row)) for row in rows])


def f1(expected, predicted):
    tags = sorted({word for text in expected + predicted for word in text.split()})
    metric = EntityF1(tags)
    metric.update(numbered(predicted, tags), numbered(expected, tags))
    return metric.compute().item()


@pytest.mark.parametrize(("expected", "predicted", "found"), SEQEVAL)
def test_what_seqeval_counts(expected, predicted, found):
    assert f1(expected, predicted) == pytest.approx(found)


def spans(words):
    """Entities (type, first, last) of one text, word by word."""
    found, current = [], None
    before = "O"
    for i, word in enumerate(words):
        prefix, kind = word[0], word[2:]
        new = before[0] in "OES" or prefix in "BS" or kind != before[2:]
        if current and (prefix == "O" or new):
            found.append((*current, i - 1))
            current = None
        if prefix != "O" and new:
            current = (kind, i)
        before = word
    return set([*found, (*current, len(words) - 1)] if current else found)


@pytest.mark.parametrize("tags", [["O", "B-PER", "I-PER"], ["B-A", "I-A", "O", "B-B-X", "I-B-X"],
                                  ["O", "B-A", "I-A", "E-A", "S-A", "I-B", "E-B"], ["O", "B", "I"]])  # fmt: skip
def test_spans_of_random_tags_batch_by_batch(tags):
    """Also with gaps inside: positions that do not count stand between words, and hold any prediction."""
    draw = random.Random(0)
    metric = EntityF1(tags)
    right = wrong = 0
    for _ in range(40):
        rows, length = draw.randint(1, 4), draw.randint(1, 9)
        target = [[draw.choice([-100, *range(len(tags))]) for _ in range(length)] for _ in range(rows)]
        predicted = [[max(y, 0) if draw.random() < 0.6 else draw.randrange(len(tags)) for y in row] for row in target]
        metric.update(torch.tensor(predicted), torch.tensor(target))
        for row, guesses in zip(target, predicted, strict=True):
            kept = [i for i, y in enumerate(row) if y != -100]
            a, b = spans([tags[row[i]] for i in kept]), spans([tags[guesses[i]] for i in kept])
            right, wrong = right + len(a & b), wrong + len(a ^ b)
    assert right > 10
    assert metric.compute().item() == pytest.approx(2 * right / (2 * right + wrong))
    metric.reset()
    assert metric.true_positives.sum().item() == 0


def test_parts_of_words_and_special_tokens_do_not_count():
    """[CLS] New ##ark City [SEP]: the second part is left out, and B-LOC I-LOC stays one entity."""
    metric = EntityF1(["O", "B-LOC", "I-LOC"])
    metric.update(torch.tensor([[2, 1, 1, 2, 2]]), torch.tensor([[-100, 1, -100, 2, -100]]))
    assert metric.compute().item() == 1


def test_counts_are_summed_over_processes_and_nothing_is_no_error():
    metric = EntityF1(["O", "B-LOC"])
    assert set(metric._reductions.values()) == {dim_zero_sum}
    assert metric._reductions.keys() == {"true_positives", "false_positives", "false_negatives"}
    metric.update(torch.zeros(2, 3, dtype=torch.int64), torch.full((2, 3), -100))
    metric.update(torch.zeros(0, 3, dtype=torch.int64), torch.zeros(0, 3, dtype=torch.int64))
    assert metric.compute().item() == 0
    assert not metric.state_dict()


@pytest.mark.parametrize("tag", ["NOUN", "PER", "BPER", "O-PER", "", "b-PER"])
def test_tags_without_a_prefix_are_refused(tag):
    with pytest.raises(ValueError, match=f"tags must be O, or a type after B-, .*; got '{tag}'"):
        EntityF1(["O", tag])


def test_other_shapes_are_refused():
    metric = EntityF1(["O", "B-LOC"])
    for predictions, target in ((torch.zeros(2, 3), torch.zeros(2, 4)), (torch.zeros(3), torch.zeros(3))):
        with pytest.raises(ValueError, match=r"predictions and target must have one shape \(N, L\), got \("):
            metric.update(predictions.long(), target.long())


def test_each_type_by_itself():
    tags = ["O", "B-A", "I-A", "B-B"]
    metric = EntityF1(tags)
    metric.update(numbered(["B-A I-A O B-B"], tags), numbered(["B-A I-A B-A B-A"], tags))
    metric.update(numbered(["B-B O"], tags), numbered(["B-B B-B"], tags))
    assert metric.by_type() == {
        "A": {"f1": 0.5, "precision": 1.0, "recall": pytest.approx(1 / 3), "support": 3},
        "B": {"f1": 0.5, "precision": 0.5, "recall": 0.5, "support": 2},
    }
    assert metric.compute().item() == pytest.approx(0.5)
    assert EntityF1(["O", "B-A"]).by_type()["A"]["f1"] == 0
