"""Spearman's ρ of cosines and the overlap of neighbours, against numpy and scipy."""

import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from distill.models.outputs import Outputs
from distill.tasks.similarity import Pairs, SimilarityMetrics, neighbour_overlap, spearman_of_cosines
from distill.utils import distributed


def cosines(e):
    unit = e / np.linalg.norm(e, axis=1, keepdims=True)
    return unit @ unit.T


def pair(n, seed=0):
    generator = np.random.default_rng(seed)
    base = generator.normal(size=(n, 4))
    return base @ generator.normal(size=(4, 6)), base @ generator.normal(size=(4, 9)) + generator.normal(size=(n, 9))


def test_spearman_is_pearson_of_the_ranks_of_all_pairs():
    a, b = pair(30)
    upper = np.triu_indices(30, 1)
    expected = np.corrcoef(rankdata(cosines(a)[upper]), rankdata(cosines(b)[upper]))[0, 1]
    assert spearman_of_cosines(torch.tensor(a), torch.tensor(b)) == pytest.approx(expected, rel=1e-9)
    rotated = a @ np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    assert spearman_of_cosines(torch.tensor(a), torch.tensor(3 * rotated)) == pytest.approx(1)


def test_overlap_of_neighbours():
    a, b = pair(30)
    shared = 0
    for row, other in zip(cosines(a), cosines(b), strict=True):  # a sample's own cosine, 1, is the largest
        shared += len({*np.argsort(-row)[1:6]} & {*np.argsort(-other)[1:6]})
    assert neighbour_overlap(torch.tensor(a), torch.tensor(b), k=5) == pytest.approx(shared / (5 * 30))
    assert neighbour_overlap(torch.tensor(a), torch.tensor(a), k=99) == 1


def test_a_collapsed_student_has_no_score():
    same = torch.ones(8, 3)
    assert np.isnan(spearman_of_cosines(same, torch.randn(8, 5)))
    assert np.isnan(spearman_of_cosines(torch.randn(1, 3), torch.randn(1, 5)))


def test_the_sample_does_not_depend_on_the_batches():
    """At most 20 of 200 samples, spread over all of them, the same in every epoch."""
    rows = torch.arange(200.0)[:, None]
    chosen = []
    for size in (7, 200):
        pairs = Pairs(samples=20)
        for _ in range(2):
            for batch in rows.split(size):
                pairs.update(batch, -batch)
            student, teacher = pairs.compute()
            assert torch.equal(student, -teacher)
            chosen.append(student.flatten().tolist())
            pairs.reset()
    assert chosen[0] == chosen[1] == chosen[2] == chosen[3]
    assert len(set(chosen[0])) == 20
    assert min(chosen[0]) < 50
    assert max(chosen[0]) > 150


@pytest.mark.parametrize("world", [2, 3])
def test_several_processes_choose_what_one_does(monkeypatch, world):
    """Each takes its part of every batch; the last one has 5 samples."""
    rows, alone = torch.arange(200.0)[:, None], Pairs(samples=20)
    batches = rows.split(15)
    for batch in batches:
        alone.update(batch, -batch)
    parts = []
    for rank in range(world):
        sizes = iter([len(batch) for batch in batches])
        monkeypatch.setattr(distributed, "rank_and_world_size", lambda rank=rank: (rank, world))
        monkeypatch.setattr(distributed, "all_reduce_sum", lambda _, sizes=sizes: torch.tensor(next(sizes)))
        parts.append(Pairs(samples=20))
        for batch in batches:
            parts[-1].update(batch[rank::world], -batch[rank::world])
    together = Pairs(samples=20)  # as torchmetrics gathers them
    for name in ("priority", "student", "teacher"):
        setattr(together, name, [torch.cat(list(getattr(part, name))) for part in parts])
    assert all(torch.equal(a, b) for a, b in zip(alone.compute(), together._lowest()[1:], strict=True))


def outputs(x):
    return Outputs(x, {}, None)


def test_metrics_of_a_split():
    a, b = (torch.tensor(x, dtype=torch.float32) for x in pair(30))
    metrics = SimilarityMetrics(with_agreement=True)
    for rows in torch.arange(30).split(8):
        metrics.update(outputs(a[rows]), outputs(b[rows]), torch.zeros(len(rows)))
    values = metrics.compute()
    assert values["spearman"].item() == pytest.approx(spearman_of_cosines(a, b), abs=1e-6)
    assert values["knn_overlap"].item() == pytest.approx(neighbour_overlap(a, b))
    assert metrics.compute() == {}  # reset
    metrics.update(outputs(a), None, torch.zeros(30))
    assert metrics.compute() == {}  # a phase without a teacher
    alone = SimilarityMetrics(with_agreement=False)
    alone.update(outputs(a), None, torch.zeros(30))
    assert {name: value.item() for name, value in alone.compute().items()} == pytest.approx(
        {"spearman": 1, "knn_overlap": 1}
    )
