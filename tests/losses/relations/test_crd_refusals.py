"""What CRD refuses: shapes, indices and settings, before its bank has changed."""

import pytest
import torch

from crd_reference import D_S, D_T, SAMPLES, N, batch, built, state
from distill.losses.relations.crd import CRD, nce_loss


def test_needs_indices():
    with pytest.raises(ValueError, match="a memory bank needs a dataset with stable indices"):
        CRD().build((2, 3), (2, 3), None)
    with pytest.raises(ValueError, match=r"teacher_embedding must have shape \(N, D\), got \(2, 3, 4\)"):
        CRD().build((2, 3), (2, 3, 4), 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: torch.randn(N - 1, D_S)}, "same samples, got 5 and 6"),
        ({0: torch.randn(N, 2, D_S)}, r"student_embedding must have shape \(N, D\), got \(6, 2, 5\)"),
        ({1: torch.randn(D_T)}, r"teacher_embedding must have shape \(N, D\), got \(4,\)"),
        ({2: torch.zeros(1, dtype=torch.int64)}, r"target must have shape \(6,\), one value per sample, got \(1,\)"),
        ({3: torch.zeros(1, dtype=torch.int64)}, r"index must have shape \(6,\), one value per sample, got \(1,\)"),
        ({3: torch.zeros(N, 1, dtype=torch.int64)}, r"index must have shape \(6,\), .* got \(6, 1\)"),
    ],
)
def test_bad_shapes_leave_the_bank_alone(change, message):
    loss = built()
    before = state(loss)
    with pytest.raises(ValueError, match=message):
        loss(*(change.get(i, value) for i, value in enumerate(batch(0))))
    assert all(torch.equal(before[name], value) for name, value in loss.state_dict().items())


@pytest.mark.parametrize("bad", [SAMPLES, -1])
def test_an_index_out_of_range_is_no_silent_crash(bad):
    loss = built()
    before = state(loss)
    s, t, target, index = batch(0)
    with pytest.raises((IndexError, RuntimeError), match="out of range"):
        loss(s, t, target, torch.cat([index[:-1], torch.tensor([bad])]))
    assert all(torch.equal(before[name], value) for name, value in loss.state_dict().items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"K": 0}, "K must be an integer of at least 1, got 0"),
        ({"dim": 0}, "dim must be an integer of at least 1, got 0"),
        ({"tau": 0}, "tau must be a finite number above 0, got 0"),
        ({"momentum": 1}, r"momentum must lie in \[0, 1\), got 1"),
    ],
)
def test_bad_values(settings, message):
    with pytest.raises(ValueError, match=message):
        CRD(**settings)


def test_nce_needs_noise():
    with pytest.raises(ValueError, match="noise must be a finite number above 0, got 0"):
        nce_loss(torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool), torch.tensor(0.0), 0)
