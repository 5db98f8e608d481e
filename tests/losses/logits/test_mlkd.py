import numpy as np
import pytest
import torch

from distill.losses.logits.mlkd import MLKD, _grams, mlkd_loss


def softmax(z):
    e = np.exp(np.asarray(z) - np.max(z, axis=1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def reference(s, t, Ts=(2, 3, 4, 5, 6)):
    """Over the temperatures: T² · KD + batch Gram / N + class Gram / C, the Grams entry by entry."""
    s, t = np.asarray(s), np.asarray(t)
    n, c = s.shape
    total = 0.0
    for T in Ts:
        p, q = softmax(t / T), softmax(s / T)
        total += T**2 * (p * np.log(p / q)).sum() / n
        total += sum((p[i] @ p[j] - q[i] @ q[j]) ** 2 for i in range(n) for j in range(n)) / n
        total += sum((p[:, k] @ p[:, m] - q[:, k] @ q[:, m]) ** 2 for k in range(c) for m in range(c)) / c
    return total


def logits(n, c, scale=3.0, dtype=torch.float64):
    torch.manual_seed(0)
    return scale * torch.randn(n, c, dtype=dtype), scale * torch.randn(n, c, dtype=dtype)


@pytest.fixture(params=[(1, 2), (8, 5), (5, 40)])
def pair(request):
    return logits(*request.param)


@pytest.mark.parametrize("Ts", [(1.0,), (2, 3, 4, 5, 6), [0.5, 10.0]])
def test_equals_the_formula(pair, Ts):
    value = mlkd_loss(*pair, Ts).item()
    assert value == pytest.approx(reference(*pair, Ts), rel=1e-9)
    assert MLKD(Ts)(*pair).item() == value


def test_default_temperatures_are_the_authors(pair):
    assert MLKD()(*pair).item() == mlkd_loss(*pair).item() == pytest.approx(reference(*pair), rel=1e-9)


@pytest.mark.parametrize("scale", [1e-4, 3.0])
def test_each_gram_against_its_definition(scale):
    """Also where the answers are close: the norms are no differences of large numbers."""
    torch.manual_seed(0)
    p = torch.softmax(torch.randn(6, 30, dtype=torch.float64), 1)
    q = torch.softmax(p.log() + scale * torch.randn(6, 30, dtype=torch.float64), 1)
    for dtype, rel in ((torch.float64, 1e-9), (torch.float32, 5e-3)):
        batch, classes = _grams(p.to(dtype), q.to(dtype))
        assert batch.item() == pytest.approx(((p @ p.T - q @ q.T) ** 2).sum().item(), rel=rel)
        assert classes.item() == pytest.approx(((p.T @ p - q.T @ q) ** 2).sum().item(), rel=rel)


def test_zero_at_equality_and_shift_invariant(pair):
    s, t = pair
    assert mlkd_loss(s, s).item() == pytest.approx(0, abs=1e-12)
    value = mlkd_loss(s, t).item()
    assert value > 0.01
    assert mlkd_loss(s + 7, t - 3).item() == pytest.approx(value, rel=1e-9)
    order = torch.randperm(len(s))
    assert mlkd_loss(s[order], t[order]).item() == pytest.approx(value, rel=1e-9)


def test_gradient(pair):
    s, t = pair
    assert torch.autograd.gradcheck(lambda x: mlkd_loss(x, t, (1.0, 3.0)), s.clone().requires_grad_())


def test_no_matrix_of_classes_by_classes():
    """22,000 classes: a Gram of them would be 1.9 GB, of three samples cubed or so it is nothing."""
    s, t = logits(3, 22_000, dtype=torch.float32)
    sizes = []

    class Sizes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            sizes.extend(x.numel() for x in (out if isinstance(out, tuple) else (out,)) if isinstance(x, torch.Tensor))
            return out

    with Sizes():
        mlkd_loss(s.requires_grad_(), t).backward()
    assert max(sizes) == 3 * 22_000


def test_gathers_in_training_only(monkeypatch):
    s, t = logits(8, 10)
    part, others = (s[:3], t[:3]), iter([s[3:], t[3:]])
    monkeypatch.setattr("distill.losses.gather.gather", lambda x: torch.cat([x, next(others)]))
    loss = MLKD(gather=True)
    assert loss.eval()(*part).item() == pytest.approx(reference(*part), rel=1e-9)
    assert loss.train()(*part).item() == pytest.approx(reference(s, t), rel=1e-9)
    assert MLKD().train()(*part).item() == pytest.approx(reference(*part), rel=1e-9)


def test_bad_values():
    for make in (MLKD, lambda Ts: mlkd_loss(*logits(2, 3), Ts)):
        with pytest.raises(ValueError, match=r"Ts must hold at least one temperature, got \(\)"):
            make([])
        for T in (0, -1, float("nan"), float("inf")):
            with pytest.raises(ValueError, match=f"every one of Ts must be a finite number above 0, got {T}"):
                make([2.0, T])
