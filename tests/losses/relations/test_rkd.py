import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from distill.losses.relations.rkd import MAX_SAMPLES, RKD, rkd_angle, rkd_distance


def huber(a, b):
    d = np.abs(a - b)
    return np.where(d < 1, 0.5 * d**2, d - 0.5).mean()


def reference_distance(s, t):
    def normalised(e):
        d = cdist(e, e)
        return d / d[~np.eye(len(e), dtype=bool)].mean()

    return huber(normalised(s), normalised(t))


def reference_angle(s, t):
    def cosines(e):
        n = len(e)
        out = np.zeros((n, n, n))
        for i in range(n):
            for j in range(n):
                for k in range(n):
                    a, b = e[j] - e[i], e[k] - e[i]
                    length = np.linalg.norm(a) * np.linalg.norm(b)
                    out[i, j, k] = a @ b / length if length else 0.0
        return out

    return huber(cosines(s), cosines(t))


@pytest.fixture
def pair():
    torch.manual_seed(0)
    return torch.randn(7, 5, dtype=torch.float64), 2 * torch.randn(7, 3, dtype=torch.float64)


def test_equals_the_formula(pair):
    s, t = pair
    distance, angle = reference_distance(s.numpy(), t.numpy()), reference_angle(s.numpy(), t.numpy())
    assert rkd_distance(s, t).item() == pytest.approx(distance, rel=1e-9)
    assert rkd_angle(s, t).item() == pytest.approx(angle, rel=1e-9)
    assert RKD()(s, t).item() == pytest.approx(25 * distance + 50 * angle, rel=1e-9)
    assert RKD(distance=0, angle=1)(s, t).item() == pytest.approx(angle, rel=1e-9)


@pytest.mark.parametrize("loss", [rkd_distance, rkd_angle])
def test_invariant_to_rotation_shift_and_scale(pair, loss):
    s, t = pair
    rotation = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))[0]
    assert loss(3 * s @ rotation + 1, t).item() == pytest.approx(loss(s, t).item(), rel=1e-9)
    assert loss(3 * s @ rotation + 1, s).item() == pytest.approx(0, abs=1e-12)
    assert loss(s, t).item() > 1e-3


@pytest.mark.parametrize("loss", [rkd_distance, rkd_angle])
def test_gradient(pair, loss):
    s, t = pair
    assert torch.autograd.gradcheck(lambda x: loss(x, t), s.requires_grad_())


@pytest.mark.parametrize("loss", [rkd_distance, rkd_angle])
def test_equal_samples_give_finite_gradients(loss):
    torch.manual_seed(0)
    s = torch.randn(6, 4)
    s[1] = s[0]
    s[3] = s[0]
    s.requires_grad_()
    loss(s, torch.randn(6, 4)).backward()
    assert torch.isfinite(s.grad).all()
    same = torch.ones(4, 3, requires_grad=True)
    loss(same, torch.ones(4, 3)).backward()
    assert torch.isfinite(same.grad).all()


def test_half_precision(pair):
    s, t = pair
    value = RKD()(s.bfloat16(), t.bfloat16())
    assert value.dtype == torch.float32
    rounded = RKD()(s.bfloat16().double(), t.bfloat16().double())
    assert value.item() == pytest.approx(rounded.item(), rel=1e-5)  # only the inputs were rounded
    assert value.item() == pytest.approx(RKD()(s, t).item(), rel=0.05)


def test_maps_are_flattened(pair):
    s, t = pair
    assert rkd_distance(s.reshape(7, 5, 1, 1), t).item() == rkd_distance(s, t).item()


def test_small_batches():
    two = torch.tensor([[0.0, 1.0], [2.0, 3.0]], requires_grad=True)
    assert RKD()(two, two.detach()).item() == 0
    one = torch.ones(1, 4, requires_grad=True)
    RKD()(one, torch.ones(1, 4)).backward()
    assert one.grad.abs().sum() == 0
    with pytest.raises(ValueError, match="at least 2 samples in a batch, got 1"):
        rkd_distance(torch.ones(1, 4), torch.ones(1, 4))
    with pytest.raises(ValueError, match="at least 3 samples in a batch, got 2"):
        rkd_angle(two, two)


def test_bad_values():
    with pytest.raises(ValueError, match="distance must be a finite number of at least 0, got -1"):
        RKD(distance=-1)
    with pytest.raises(ValueError, match="max_samples must be an integer of at least 1, got 0"):
        RKD(max_samples=0)
    with pytest.raises(ValueError, match="max_samples must be an integer of at least 1, got 0.5"):
        RKD(max_samples=0.5)
    with pytest.raises(ValueError, match="same samples, got 3 and 4"):
        rkd_distance(torch.ones(3, 2), torch.ones(4, 2))


def test_the_angles_are_bounded():
    """Before anything of N³ elements is made; the distances alone take any batch."""
    many = torch.zeros(MAX_SAMPLES + 1, 1)
    with pytest.raises(ValueError, match=r"513 samples are 513\^3 numbers: at most max_samples=512"):
        RKD()(many, many)
    assert RKD(angle=0)(many, many).item() == 0
    assert (RKD().largest_batch, RKD(max_samples=5).largest_batch, RKD(angle=0).largest_batch) == (512, 5, None)
    few = torch.randn(5, 2)
    assert RKD(max_samples=5)(few, few).item() == 0
    with pytest.raises(ValueError, match="max_samples=4"):
        RKD(max_samples=4)(few, few)


def test_large_embeddings_stay_finite():
    s = (1e4 * torch.randn(6, 4)).requires_grad_()
    loss = RKD()(s, 1e-4 * torch.randn(6, 4))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(s.grad).all()


def test_gather_changes_nothing_in_one_process(pair):
    assert RKD(gather=True)(*pair) == RKD()(*pair)
