import pytest
import torch

from distill.losses.features.simkd import simkd_loss


@pytest.mark.parametrize(("student", "teacher"), [(4, 4), (4, 8), (8, 4)])
def test_equals_the_formula(student, teacher):
    torch.manual_seed(0)
    s, t = (torch.randn(2, 3, size, size, dtype=torch.float64) for size in (student, teacher))

    def pooled(x):
        k = x.shape[2] // 4
        return x.numpy().reshape(2, 3, 4, k, 4, k).mean((3, 5))

    assert simkd_loss(s, t).item() == pytest.approx(((pooled(s) - pooled(t)) ** 2).mean(), rel=1e-12)
    assert simkd_loss(t, t).item() == 0
    assert torch.autograd.gradcheck(lambda x: simkd_loss(x, t), s.requires_grad_())


def test_tokens_bad_shapes_and_half_precision():
    s, t = torch.randn(2, 3, 4, 4), torch.randn(2, 17, 3)
    as_map = t[:, 1:].transpose(1, 2).reshape(2, 3, 4, 4)
    assert simkd_loss(s, t).item() == pytest.approx((s - as_map).square().mean().item(), rel=1e-6)
    with pytest.raises(ValueError, match=r"got \(2, 3, 4, 4\) and \(2, 5, 4, 4\)"):
        simkd_loss(s, torch.randn(2, 5, 8, 8))
    assert simkd_loss(s.bfloat16(), s.bfloat16() + 1).dtype == torch.float32
    s, t = torch.randn(2, 3, 4, 4).bfloat16(), torch.randn(2, 3, 8, 8).bfloat16()
    exact = simkd_loss(s.double(), t.double())
    assert simkd_loss(s, t).item() == pytest.approx(exact.item(), rel=1e-5)


def test_one_sample():
    s, t = torch.randn(1, 3, 1, 1, requires_grad=True), torch.randn(1, 3, 1, 1)
    value = simkd_loss(s, t)
    value.backward()
    assert value.item() == pytest.approx((s - t).square().mean().item(), rel=1e-6)
    torch.testing.assert_close(s.grad, 2 * (s - t).detach() / 3)


@pytest.mark.parametrize("size", [4, 8])
def test_compiles_into_one_graph(size):
    torch._dynamo.reset()
    s, t = torch.randn(2, 3, 4, 4), torch.randn(2, 3, size, size)
    torch.testing.assert_close(torch.compile(simkd_loss, fullgraph=True, backend="eager")(s, t), simkd_loss(s, t))
