"""Random numbers as a pure function of (seed, epoch, index): the same whatever asks, in whatever order.

A counter-based generator: the counter is mixed by splitmix64's finaliser, vectorised over a batch in int64
(multiplication wraps as in C; right shifts are made logical by a mask).

Source: Steele, Lea & Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB
_MASK = (1 << 64) - 1

# One stream per use, so that the order of an epoch says nothing about its views.
_VIEWS, ORDER, _SAMPLE, BATCHES = 1, 2, 3, 4


def _signed(value: int) -> int:
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


def _mix_int(z: int) -> int:
    z &= _MASK
    z = ((z ^ (z >> 30)) * _MIX_1) & _MASK
    z = ((z ^ (z >> 27)) * _MIX_2) & _MASK
    return z ^ (z >> 31)


def _shift(z: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * _signed(_MIX_1)
    z = (z ^ _shift(z, 27)) * _signed(_MIX_2)
    return z ^ _shift(z, 31)


def _key(stream: int, seed: int, epoch: int) -> int:
    key = _mix_int(stream * _GOLDEN)
    key = _mix_int((key ^ (seed & _MASK)) + _GOLDEN)
    return _mix_int((key ^ (epoch & _MASK)) + _GOLDEN)


def _bits(stream: int, seed: int, epoch: int, index: Tensor) -> Tensor:
    """64 random bits per index."""
    return _mix(_mix(index.to(torch.int64) * _signed(_GOLDEN) + _signed(_key(stream, seed, epoch))))


def uniform(seed: int, epoch: int, index: Tensor, n: int) -> Tensor:
    """``n`` uniform numbers for each sample's view.

    Args:
        seed: any integer.
        epoch: the epoch's number, from 0.
        index: the samples' positions in their source, int64 (B,).
        n: numbers per sample.

    Returns:
        float32 (B, n) in [0, 1), multiples of 2⁻²⁴.

    Example:
        >>> alone = uniform(0, 3, torch.tensor([7]), 2)
        >>> bool((uniform(0, 3, torch.tensor([5, 7]), 2)[1] == alone).all())
        True
    """
    columns = torch.arange(1, n + 1, dtype=torch.int64, device=index.device) * _signed(_GOLDEN)
    bits = _mix(_bits(_VIEWS, seed, epoch, index)[:, None] + columns)
    return _shift(bits, 40).to(torch.float32) * 2.0**-24


def permutation(n: int, seed: int, epoch: int, stream: int = ORDER) -> Tensor:
    """A random order of ``range(n)``, int64 (n,), that depends on (seed, epoch) only; of each stream another."""
    return torch.argsort(_bits(stream, seed, epoch, torch.arange(n)), stable=True)


def sample_seed(seed: int, epoch: int, index: int) -> int:
    """A 63-bit seed for one sample's own generators."""
    return int(_bits(_SAMPLE, seed, epoch, torch.tensor([index]))[0]) & ((1 << 63) - 1)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's (CPU), numpy's and Python's global generators for the body, then put them back as they were."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
