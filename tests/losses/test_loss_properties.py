"""What losses of logits and of embeddings keep, whatever the numbers."""

import pytest
import torch
from hypothesis import given, strategies as st

from distill import losses
from properties import EXAMPLES

SIZES = st.tuples(st.integers(2, 6), st.integers(3, 8))
SEEDS = st.integers(0, 2**31)
SCALES = st.sampled_from([1e-3, 1.0, 30.0, 1e3])
OF_LOGITS = {
    "kd": lambda s, t, y: losses.kd_loss(s, t),
    "dkd": losses.dkd_loss,
    "dist": lambda s, t, y: losses.dist_loss(s, t),
    "nkd": losses.nkd_loss,
    "ttm": lambda s, t, y: losses.ttm_loss(s, t),
    "wttm": lambda s, t, y: losses.wttm_loss(s, t),
    "mlkd": lambda s, t, y: losses.mlkd_loss(s, t),
    "reverse_kl": lambda s, t, y: losses.reverse_kl_loss(s, t),
    "jsd": lambda s, t, y: losses.jsd_loss(s, t),
    "skew_kl": lambda s, t, y: losses.skew_kl_loss(s, t),
    "tvd": lambda s, t, y: losses.tvd_loss(s, t),
    "skew_reverse_kl": lambda s, t, y: losses.skew_kl_loss(s, t, reverse=True),
}
OF_EMBEDDINGS = {"pkt": losses.pkt_loss, "sp": losses.sp_loss, "rkd_distance": losses.rkd_distance,
                 "rkd_angle": losses.rkd_angle}  # fmt: skip
ZERO_AT_EQUALITY = ("kd", "dkd", "dist", "mlkd", "reverse_kl", "jsd", "skew_kl", "skew_reverse_kl", "tvd")
AT_LEAST_ZERO = (*ZERO_AT_EQUALITY, "ttm", "wttm")


def drawn(sizes, seed, scale=1.0):
    """Logits of student and teacher in float64, and labels."""
    generator = torch.Generator().manual_seed(seed)
    s, t = (scale * torch.randn(*sizes, generator=generator, dtype=torch.float64) for _ in range(2))
    return s, t, torch.randint(sizes[1], (sizes[0],), generator=generator)


@pytest.mark.parametrize("name", OF_LOGITS)
@EXAMPLES
@given(SIZES, SEEDS, SCALES)
def test_value_and_gradient_are_finite(name, sizes, seed, scale):
    for dtype in (torch.float32, torch.float64):
        s, t, y = drawn(sizes, seed, scale)
        s = s.to(dtype).requires_grad_()
        loss = OF_LOGITS[name](s, t.to(dtype), y)
        loss.backward()
        assert loss.isfinite()
        assert s.grad.isfinite().all()
        if name in AT_LEAST_ZERO:
            assert loss >= -1e-5 * max(1.0, scale)


@pytest.mark.parametrize("name", OF_LOGITS)
@EXAMPLES
@given(SIZES, SEEDS, st.floats(-50, 50), st.floats(-50, 50))
def test_a_constant_added_to_all_logits_of_a_sample_changes_nothing(name, sizes, seed, a, b):
    s, t, y = drawn(sizes, seed)
    loss = OF_LOGITS[name]
    torch.testing.assert_close(loss(s + a, t + b, y), loss(s, t, y), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", OF_LOGITS)
@EXAMPLES
@given(SIZES, SEEDS)
def test_the_order_of_samples_and_of_classes_changes_nothing(name, sizes, seed):
    s, t, y = drawn(sizes, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    rows, columns = (torch.randperm(size, generator=generator) for size in sizes)
    loss = OF_LOGITS[name]
    expected = loss(s, t, y)
    torch.testing.assert_close(loss(s[rows], t[rows], y[rows]), expected)
    torch.testing.assert_close(loss(s[:, columns], t[:, columns], columns.argsort()[y]), expected)


@pytest.mark.parametrize("name", ZERO_AT_EQUALITY)
@EXAMPLES
@given(SIZES, SEEDS)
def test_equal_logits_have_no_loss_and_no_gradient(name, sizes, seed):
    _, t, y = drawn(sizes, seed)
    s = t.clone().requires_grad_()
    loss = OF_LOGITS[name](s, t, y)
    loss.backward()
    assert abs(loss.item()) < 1e-9
    assert s.grad.abs().max() < 1e-6


@EXAMPLES
@given(SIZES, SEEDS, st.floats(0.5, 20))
def test_kd_is_the_divergence_of_softened_probabilities(sizes, seed, temperature):
    s, t, _ = drawn(sizes, seed)
    p, q = (t / temperature).softmax(1), (s / temperature).softmax(1)
    expected = temperature**2 * (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(losses.kd_loss(s, t, temperature), expected)


@pytest.mark.parametrize("name", OF_EMBEDDINGS)
@EXAMPLES
@given(st.tuples(st.integers(3, 7), st.integers(2, 6)), SEEDS)
def test_relations_see_neither_a_rotation_nor_a_scale_nor_an_order(name, sizes, seed):
    s, t, _ = drawn(sizes, seed)
    loss = OF_EMBEDDINGS[name]
    expected = loss(s, t)
    generator = torch.Generator().manual_seed(seed + 1)
    rotation, _ = torch.linalg.qr(torch.randn(sizes[1], sizes[1], generator=generator, dtype=torch.float64))
    rows = torch.randperm(sizes[0], generator=generator)
    assert expected.isfinite()
    assert expected >= 0
    torch.testing.assert_close(loss(s @ rotation, 3.0 * t), expected, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(loss(s[rows], t[rows]), expected)
    torch.testing.assert_close(loss(t @ rotation, t), torch.zeros_like(expected), rtol=0, atol=1e-5)
