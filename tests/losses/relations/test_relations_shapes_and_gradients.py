"""Relations between samples and channels: what is no batch is refused, and bf16 gradients keep their direction."""

import pytest
import torch

from distill.losses import cc_loss, crd_inbatch_loss, ickd_loss, pkt_loss, rkd_angle, rkd_distance, sp_loss


@pytest.mark.parametrize("loss", [rkd_distance, rkd_angle, pkt_loss, sp_loss, cc_loss])
def test_vectors_are_no_batch(loss):
    for s, t in ((torch.ones(4), torch.ones(4)), (torch.ones(4, 2), torch.ones(4)), (torch.tensor(1.0),) * 2):
        with pytest.raises(ValueError, match=r"must have shape \(N, D\) or more dimensions, got"):
            loss(s, t)


def inbatch(s, t):
    return crd_inbatch_loss(s, t, torch.arange(8) % 3, tau=0.3)


@pytest.mark.parametrize("loss", [rkd_distance, rkd_angle, pkt_loss, sp_loss, cc_loss, ickd_loss, inbatch])
def test_half_precision_keeps_the_gradient(loss):
    """Against float64 of the same rounded inputs, relative to the gradient's norm: the output alone is rounded."""
    torch.manual_seed(0)
    shape = (8, 6, 4) if loss is ickd_loss else (8, 6)
    s, t = torch.randn(shape).bfloat16(), torch.randn(shape).bfloat16()

    def gradient(student, teacher):
        student = student.clone().requires_grad_()
        return torch.autograd.grad(loss(student, teacher), student)[0].double()

    exact = gradient(s.double(), t.double())
    assert ((gradient(s, t) - exact).norm() / exact.norm()).item() < 0.01
