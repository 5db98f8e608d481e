import random

import numpy as np
import pytest
import torch
from scipy import stats

from distill.data.rng import permutation, sample_seed, seeded, uniform

MASK = (1 << 64) - 1


def reference(seed, epoch, index, column):
    """The same numbers in Python's unbounded integers."""

    def mix(z):
        z &= MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    golden = 0x9E3779B97F4A7C15
    key = mix(1 * golden)
    key = mix((key ^ (seed & MASK)) + golden)
    key = mix((key ^ (epoch & MASK)) + golden)
    return (mix(mix(mix(index * golden + key)) + (column + 1) * golden) >> 40) / 2**24


@pytest.mark.parametrize("seed", [0, 1, -5, 2**63 + 11])
def test_the_vectorised_hash_is_splitmix64(seed):
    index = torch.tensor([0, 1, 7, 2**40])
    numbers = uniform(seed, 3, index, 4)
    assert numbers.dtype == torch.float32
    for row, i in enumerate(index.tolist()):
        assert numbers[row].tolist() == [reference(seed, 3, i, column) for column in range(4)]


def test_uniformity():
    values = uniform(0, 0, torch.arange(50_000), 4).numpy()
    assert values.min() >= 0
    assert values.max() < 1
    for column in values.T:
        counts = np.histogram(column, 64, (0, 1))[0]
        assert stats.chisquare(counts).pvalue > 1e-3
        assert stats.kstest(column, "uniform").pvalue > 1e-3


def test_nothing_is_correlated_with_its_neighbour():
    index = torch.arange(50_000)
    here = uniform(0, 0, index, 3).numpy()
    pairs = {
        "index": (here[:-1, 0], here[1:, 0]),
        "column": (here[:, 0], here[:, 1]),
        "epoch": (here[:, 0], uniform(0, 1, index, 3).numpy()[:, 0]),
        "seed": (here[:, 0], uniform(1, 0, index, 3).numpy()[:, 0]),
        "seed and epoch swapped": (uniform(2, 3, index, 1).numpy()[:, 0], uniform(3, 2, index, 1).numpy()[:, 0]),
    }
    for name, (one, other) in pairs.items():
        assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(len(one)), name
        cells = np.histogram2d(one, other, 8, [(0, 1), (0, 1)])[0].ravel()
        assert stats.chisquare(cells).pvalue > 1e-3, name


def test_permutation():
    one = permutation(1000, 0, 0)
    assert sorted(one.tolist()) == list(range(1000))
    assert torch.equal(one, permutation(1000, 0, 0))
    assert not torch.equal(one, permutation(1000, 0, 1))
    assert not torch.equal(one, permutation(1000, 1, 0))
    assert abs(stats.spearmanr(one.numpy(), np.arange(1000))[0]) < 0.13


def test_sample_seeds_differ():
    seeds = {sample_seed(s, e, i) for s in range(3) for e in range(3) for i in range(50)}
    assert len(seeds) == 450
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seeded_puts_the_generators_back():
    def draw():
        return torch.rand(1).item(), np.random.rand(), random.random()

    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    expected = [draw(), draw()]
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    drawn = [draw()]
    with seeded(2**62):
        inside = draw()
    drawn.append(draw())
    with seeded(2**62):
        assert draw() == inside
    assert drawn == expected
