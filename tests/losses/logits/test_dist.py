import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import pearsonr

from distill.losses.logits.dist import DIST, dist_loss


def reference(s, t, beta=1.0, gamma=1.0, T=4.0):
    """T² · [beta · (1 − mean Pearson of the rows) + gamma · (1 − mean Pearson of the columns)]."""
    p, q = softmax(np.asarray(s) / T, axis=1), softmax(np.asarray(t) / T, axis=1)
    rows = np.mean([pearsonr(a, b).statistic for a, b in zip(p, q, strict=True)])
    columns = np.mean([pearsonr(a, b).statistic for a, b in zip(p.T, q.T, strict=True)])
    return T**2 * (beta * (1 - rows) + gamma * (1 - columns))


def logits(n, c, scale=3.0, dtype=torch.float64):
    torch.manual_seed(0)
    return scale * torch.randn(n, c, dtype=dtype), scale * torch.randn(n, c, dtype=dtype)


@pytest.fixture(params=[(2, 3), (8, 10), (5, 100)])
def pair(request):
    return logits(*request.param)


@pytest.mark.parametrize("T", [1.0, 4.0, 100.0])
@pytest.mark.parametrize(("beta", "gamma"), [(1.0, 1.0), (2.0, 0.0), (0.0, 0.5)])
def test_equals_the_formula(pair, T, beta, gamma):
    value = dist_loss(*pair, beta, gamma, T).item()
    assert value == pytest.approx(reference(*pair, beta, gamma, T), rel=1e-8)
    assert DIST(beta, gamma, T)(*pair).item() == value


def test_defaults_and_settings_that_follow_a_schedule(pair):
    loss = DIST()
    assert loss(*pair).item() == dist_loss(*pair).item() == pytest.approx(reference(*pair), rel=1e-8)
    loss.beta, loss.gamma, loss.T = 0.5, 2.0, 3.0
    assert loss(*pair).item() == pytest.approx(reference(*pair, 0.5, 2.0, 3.0), rel=1e-8)


def test_zero_at_equality_and_bounded(pair):
    s, t = pair
    assert dist_loss(s, s + 7).item() == pytest.approx(0, abs=1e-10)
    assert 1 < dist_loss(s, t).item() <= 16 * 4
    opposite = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    assert dist_loss(opposite, -opposite).item() == pytest.approx(16 * 4, rel=1e-6)


def test_only_the_proportions_of_the_probabilities_count():
    """p → m·p + (1 − m) / C of a sample: its range shrinks, its row's correlation stays 1."""
    _, t = logits(8, 10)
    q = torch.softmax(t / 4, 1)
    mild = 4 * (0.3 * q + 0.7 / 10).log()
    assert dist_loss(mild, t).item() == pytest.approx(0, abs=1e-9)
    each = torch.linspace(0.1, 0.9, 8, dtype=torch.float64)[:, None]
    mixed = 4 * (each * q + (1 - each) / 10).log()
    assert dist_loss(mixed, t, gamma=0).item() == pytest.approx(0, abs=1e-9)
    assert dist_loss(mixed, t, beta=0).item() > 0.1, "the columns tell samples of different confidence apart"


def test_gradient(pair):
    s, t = (x[:, :12] for x in pair)
    assert torch.autograd.gradcheck(lambda x: dist_loss(x, t, 1.0, 2.0, 3.0), s.clone().requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, 50.0])
def test_rows_and_columns_that_do_not_vary_count_as_0_and_give_no_gradient(dtype, value):
    _, t = logits(8, 10, dtype=dtype)
    same = torch.full_like(t, value).requires_grad_()
    for s, teacher in ((same, t), (same, same.detach())):
        loss = dist_loss(s, teacher)
        loss.backward()
        assert loss.item() == pytest.approx(16 * 2)
        assert s.grad.abs().max() == 0
    one = t.clone()
    one[3] = value
    one.requires_grad_()
    dist_loss(one, t, gamma=0).backward()
    assert one.grad[3].abs().max() == 0
    assert torch.isfinite(one.grad).all()
    assert dist_loss(one, t, gamma=0).item() == pytest.approx(16 / 8, rel=1e-4), "one row of eight counts as 0"
    one.grad = None
    dist_loss(one, one.detach().flip(0)).backward()
    assert one.grad.abs().max() < 10, "a teacher's row that does not vary"


@pytest.mark.parametrize("c", [2, 10, 22_000])
def test_what_varies_by_rounding_only_gives_no_gradient(c):
    """A classifier that starts near zero: its probabilities differ in their last bit, which is no correlation."""
    _, t = logits(8, c, dtype=torch.float32)
    s = (1e-7 * t.flip(0)).requires_grad_()
    assert torch.log_softmax(s / 4, 1).unique().numel() > 1
    dist_loss(s, t).backward()
    assert s.grad.abs().max() == 0


def test_classes_that_nobody_predicts_correlate_like_any_other():
    """A column of probabilities around 1e-43: no underflow, and no weight that fades with its size."""
    s, t = logits(8, 4, dtype=torch.float32)
    s[:, 0] -= 99.0
    t[:, 0] -= 99.0
    s.requires_grad_()
    value = dist_loss(s, t, T=1.0)
    value.backward()
    assert value.item() == pytest.approx(reference(s.detach().double(), t.double(), T=1.0), rel=1e-5)
    assert 1e-4 < s.grad[:, 0].abs().max() < 10


def test_one_sample_has_rows_only():
    s, t = logits(1, 10)
    with pytest.raises(ValueError, match=r"\(gamma above 0\) needs at least 2 in a batch, got 1"):
        dist_loss(s, t)
    rows = 16 * (1 - pearsonr(softmax(s[0].numpy() / 4), softmax(t[0].numpy() / 4)).statistic)
    s.requires_grad_()
    value = DIST()(s, t)
    assert value.item() == dist_loss(s, t, gamma=0).item() == pytest.approx(rows, rel=1e-9)
    value.backward()
    assert s.grad.abs().max() > 0


def test_gathers_in_training_only(monkeypatch):
    s, t = logits(8, 10)
    first, others = (s[:3], t[:3]), iter([s[3:], t[3:]])
    monkeypatch.setattr("distill.losses.gather.gather", lambda x: torch.cat([x, next(others)]))
    loss = DIST(gather=True)
    assert loss.eval()(*first).item() == pytest.approx(reference(*first), rel=1e-8)
    assert loss.train()(*first).item() == pytest.approx(reference(s, t), rel=1e-8)
    assert DIST().train()(*first).item() == pytest.approx(reference(*first), rel=1e-8)


def test_one_class_has_no_correlation():
    with pytest.raises(ValueError, match="over classes needs at least 2 of them, got 1"):
        dist_loss(torch.zeros(2, 1), torch.zeros(2, 1))
