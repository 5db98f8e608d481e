"""Reverse KL, generalised JSD, skew KL, TVD and logit MSE, each against sums over rows and classes."""

import math

import pytest
import torch

from distill.losses import (
    JSD,
    TVD,
    ReverseKL,
    SkewKL,
    jsd_loss,
    kd_loss,
    logit_mse_loss,
    reverse_kl_loss,
    skew_kl_loss,
    tvd_loss,
)


def probabilities(row, T):
    """softmax(row / T) of a list of numbers."""
    largest = max(row)
    powers = [math.exp((z - largest) / T) for z in row]
    return [power / sum(powers) for power in powers]


def divergence(a, b):
    return sum(x * math.log(x / y) for x, y in zip(a, b, strict=True))


def mixed(a, b, share):
    return [share * x + (1 - share) * y for x, y in zip(a, b, strict=True)]


def reference(s, t, T, of_row):
    """T² times the mean over rows of ``of_row(p, q)``: the teacher's distribution and the student's."""
    rows = [of_row(probabilities(b, T), probabilities(a, T)) for a, b in zip(s.tolist(), t.tolist(), strict=True)]
    return T**2 * sum(rows) / len(rows)


def of_jsd(beta):
    def of_row(p, q):
        m = mixed(p, q, beta)
        return beta * divergence(p, m) + (1 - beta) * divergence(q, m)

    return of_row


def of_skew(alpha, reverse):
    def of_row(p, q):
        first, second = (q, p) if reverse else (p, q)
        return divergence(first, mixed(first, second, alpha))

    return of_row


@pytest.fixture(params=[(1, 2), (6, 10), (3, 200)])
def pair(request):
    torch.manual_seed(0)
    return tuple(3 * torch.randn(request.param, dtype=torch.float64) for _ in range(2))


TEMPERATURES = pytest.mark.parametrize("T", [0.5, 1.0, 4.0, 100.0])


@TEMPERATURES
def test_reverse_kl_equals_the_formula(pair, T):
    expected = reference(*pair, T, lambda p, q: divergence(q, p))
    assert reverse_kl_loss(*pair, T).item() == pytest.approx(expected, rel=1e-8)
    assert ReverseKL(T)(*pair).item() == pytest.approx(expected, rel=1e-8)
    assert ReverseKL()(*pair).item() == reverse_kl_loss(*pair, 1.0).item()


@TEMPERATURES
@pytest.mark.parametrize("beta", [0.001, 0.1, 0.5, 0.9])
def test_jsd_equals_the_formula(pair, T, beta):
    expected = reference(*pair, T, of_jsd(beta))
    assert jsd_loss(*pair, beta, T).item() == pytest.approx(expected, rel=1e-7)
    assert JSD(beta, T)(*pair).item() == pytest.approx(expected, rel=1e-7)
    assert JSD()(*pair).item() == jsd_loss(*pair, 0.5, 1.0).item()


@TEMPERATURES
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("alpha", [0.1, 0.7])
def test_skew_kl_equals_the_formula(pair, T, reverse, alpha):
    expected = reference(*pair, T, of_skew(alpha, reverse))
    assert skew_kl_loss(*pair, alpha, reverse, T).item() == pytest.approx(expected, rel=1e-8)
    assert SkewKL(alpha, reverse, T)(*pair).item() == pytest.approx(expected, rel=1e-8)
    assert SkewKL()(*pair).item() == skew_kl_loss(*pair, 0.1, False, 1.0).item()


@TEMPERATURES
def test_tvd_equals_the_formula(pair, T):
    """Times T, where the divergences have T²."""
    expected = reference(*pair, T, lambda p, q: sum(abs(a - b) for a, b in zip(p, q, strict=True)) / 2) / T
    assert tvd_loss(*pair, T).item() == pytest.approx(expected, rel=1e-8)
    assert TVD(T)(*pair).item() == pytest.approx(expected, rel=1e-8)
    assert TVD()(*pair).item() == tvd_loss(*pair, 1.0).item()


def test_logit_mse_is_the_mean_of_squared_differences(pair):
    s, t = (x.tolist() for x in pair)
    squares = [(a - b) ** 2 for x, y in zip(s, t, strict=True) for a, b in zip(x, y, strict=True)]
    assert logit_mse_loss(*pair).item() == pytest.approx(sum(squares) / len(squares), rel=1e-12)


def test_the_gradient_of_logit_mse_is_twice_that_of_kd_at_a_high_temperature(pair):
    s, t = (x - x.mean(1, keepdim=True) for x in pair)
    s.requires_grad_()
    of_mse, of_kd = (torch.autograd.grad(loss, s)[0] for loss in (logit_mse_loss(s, t), kd_loss(s, t, T=1e5)))
    torch.testing.assert_close(of_mse, 2 * of_kd, rtol=1e-3, atol=1e-5)


def test_both_ends_of_jsd_are_the_two_divergences(pair):
    """The limits of JSD / beta and JSD / (1 − beta), which the paper names, and what the ends themselves give."""
    s, t = pair
    assert jsd_loss(s, t, 0.0, 2.0).item() == pytest.approx(kd_loss(s, t, 2.0).item(), rel=1e-12)
    assert jsd_loss(s, t, 1.0, 2.0).item() == pytest.approx(reverse_kl_loss(s, t, 2.0).item(), rel=1e-12)
    assert jsd_loss(s, t, 1e-6).item() / 1e-6 == pytest.approx(kd_loss(s, t, 1.0).item(), rel=1e-2)
    assert jsd_loss(s, t, 1 - 1e-6).item() / 1e-6 == pytest.approx(reverse_kl_loss(s, t).item(), rel=1e-2)


def test_skew_kl_without_skew_is_kl(pair):
    s, t = pair
    assert skew_kl_loss(s, t, 0.0, False, 2.0).item() == pytest.approx(kd_loss(s, t, 2.0).item(), rel=1e-12)
    assert skew_kl_loss(s, t, 0.0, True, 2.0).item() == pytest.approx(reverse_kl_loss(s, t, 2.0).item(), rel=1e-12)


def test_symmetries_and_bounds(pair):
    s, t = pair
    assert jsd_loss(s, t).item() == pytest.approx(jsd_loss(t, s).item(), rel=1e-12)
    assert skew_kl_loss(s, t, 0.3, True).item() == pytest.approx(skew_kl_loss(t, s, 0.3).item(), rel=1e-12)
    assert reverse_kl_loss(s, t).item() == pytest.approx(kd_loss(t, s, 1.0).item(), rel=1e-12)
    assert tvd_loss(s, t).item() == pytest.approx(tvd_loss(t, s).item(), rel=1e-12)
    far = 1e4 * s, -1e4 * s
    assert tvd_loss(*far).item() <= 1 + 1e-12
    assert jsd_loss(*far).item() <= math.log(2) + 1e-12
    for reverse in (False, True):
        assert skew_kl_loss(*far, 0.1, reverse).item() <= -math.log(0.1) + 1e-12


LOSSES = {
    "reverse_kl": lambda s, t: reverse_kl_loss(s, t, 2.0),
    "jsd": lambda s, t: jsd_loss(s, t, 0.3, 2.0),
    "jsd at 0": lambda s, t: jsd_loss(s, t, 0.0),
    "jsd at 1": lambda s, t: jsd_loss(s, t, 1.0),
    "skew_kl": lambda s, t: skew_kl_loss(s, t, 0.2, False, 2.0),
    "skew_kl reverse": lambda s, t: skew_kl_loss(s, t, 0.2, True, 2.0),
    "tvd": lambda s, t: tvd_loss(s, t, 2.0),
    "logit_mse": logit_mse_loss,
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_and_equality(pair, name):
    s, t = (x[:, :12] for x in pair)
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](x, t), s.clone().requires_grad_())
    assert LOSSES[name](t, t).item() == pytest.approx(0, abs=1e-12)
    assert LOSSES[name](s, t).item() > 1e-3


@pytest.mark.parametrize("beta", [-0.1, 1.1, float("nan")])
def test_a_share_lies_between_0_and_1(beta):
    logits = torch.ones(2, 3)
    for call in (lambda: JSD(beta), lambda: jsd_loss(logits, logits, beta)):
        with pytest.raises(ValueError, match=rf"beta must lie in \[0, 1\], got {beta}"):
            call()
    for call in (lambda: SkewKL(beta), lambda: skew_kl_loss(logits, logits, beta), lambda: SkewKL(1)):
        with pytest.raises(ValueError, match=r"alpha must lie in \[0, 1\), got "):
            call()
