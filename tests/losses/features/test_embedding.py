import numpy as np
import pytest
import torch

from distill.losses import DenseMatch, EmbeddingMatch, embedding_loss


def distance(s, t, kind):
    """Of vectors (N, D), from the formula."""
    if kind == "mse":
        return ((s - t) ** 2).mean()
    return (1 - (s * t).sum(1) / (np.linalg.norm(s, axis=1) * np.linalg.norm(t, axis=1))).mean()


def vectors(x):
    """The positions of maps (N, D, H, W) as vectors."""
    return x.permute(0, 2, 3, 1).flatten(0, 2).numpy()


@pytest.mark.parametrize("kind", ["cosine", "mse"])
def test_the_loss_equals_the_formula(kind):
    torch.manual_seed(0)
    s, t = torch.randn(5, 7, dtype=torch.float64), torch.randn(5, 7, dtype=torch.float64)
    assert embedding_loss(s, t, kind).item() == pytest.approx(distance(s.numpy(), t.numpy(), kind), rel=1e-12)
    s, t = torch.randn(3, 4, 2, 5, dtype=torch.float64), torch.randn(3, 4, 2, 5, dtype=torch.float64)
    assert embedding_loss(s, t, kind).item() == pytest.approx(distance(vectors(s), vectors(t), kind), rel=1e-12)


def test_a_cosine_does_not_see_lengths():
    s, t = torch.randn(4, 6), torch.randn(4, 6)
    assert embedding_loss(3 * s, t / 2).item() == pytest.approx(embedding_loss(s, t).item(), rel=1e-5)
    assert embedding_loss(s, 2 * s).item() == pytest.approx(0, abs=1e-6)
    assert embedding_loss(s, 2 * s, "mse").item() > 0.1


@pytest.mark.parametrize("kind", ["cosine", "mse"])
@pytest.mark.parametrize("standardize", [False, True])
def test_pooled_through_a_linear_layer(kind, standardize):
    torch.manual_seed(0)
    loss = EmbeddingMatch(kind, standardize=standardize)
    loss.build(student_embedding=(2, 3), teacher_embedding=(2, 8))
    s, t = torch.randn(6, 3), torch.randn(6, 8)
    weight, bias = (parameter.detach().numpy() for parameter in loss.projection.parameters())
    expected = t.numpy()
    if standardize:
        expected = (expected - expected.mean(0)) / np.sqrt(expected.var(0) + 1e-5)
    assert loss(s, t).item() == pytest.approx(distance(s.numpy() @ weight.T + bias, expected, kind), rel=1e-4)
    loss(s, t).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in loss.parameters())


def test_dense_through_a_convolution_at_the_teachers_size():
    """A map that is twice as large as needed, of 2 × 2 equal pixels: interpolation leaves its middle as it is."""
    torch.manual_seed(0)
    loss = DenseMatch(standardize=False)
    loss.build(student_feature=(2, 3, 4, 4), teacher_feature=(2, 5, 4, 4))
    s, t = torch.randn(2, 3, 4, 4), torch.randn(2, 5, 4, 4)
    weight, bias = (parameter.detach().numpy() for parameter in loss.projection.parameters())
    projected = vectors(s) @ weight[:, :, 0, 0].T + bias
    assert loss(s, t).item() == pytest.approx(distance(projected, vectors(t), "cosine"), rel=1e-5)
    constant = torch.randn(2, 3, 1, 1)
    projected = vectors(constant.expand(2, 3, 4, 4)) @ weight[:, :, 0, 0].T + bias
    for size in (1, 3, 8):  # a constant map is the same in every size
        value = loss(constant.expand(2, 3, size, size), t).item()
        assert value == pytest.approx(distance(projected, vectors(t), "cosine"), rel=1e-4)


def test_standardised_maps_have_no_mean():
    """Over samples and positions; of a single vector nothing is left, and its loss is 0."""
    loss = DenseMatch("mse")
    loss.build(student_feature=(2, 3, 4, 4), teacher_feature=(2, 5, 4, 4))
    torch.nn.init.zeros_(loss.projection.weight)
    torch.nn.init.zeros_(loss.projection.bias)
    t = 7 + 3 * torch.rand(8, 5, 4, 4)
    assert loss(torch.randn(8, 3, 4, 4), t).item() == pytest.approx(1, rel=1e-3)  # the variance alone
    pooled = EmbeddingMatch()
    pooled.build((1, 3), (1, 5))
    assert pooled(torch.randn(1, 3), torch.randn(1, 5)).item() == 0
    assert pooled.eval()(torch.randn(1, 3), torch.randn(1, 5)).item() > 0


def test_tokens_of_a_transformer_are_a_map():
    loss = DenseMatch()
    loss.build(student_feature=(2, 3, 4, 4), teacher_feature=(2, 17, 5))
    s, tokens = torch.randn(2, 3, 4, 4), torch.randn(2, 17, 5)
    assert loss(s, tokens).item() == loss(s, tokens[:, 1:].transpose(1, 2).reshape(2, 5, 4, 4)).item()


def test_what_is_refused():
    with pytest.raises(ValueError, match="distance must be one of cosine, mse, got 'l1'"):
        EmbeddingMatch("l1")
    with pytest.raises(ValueError, match="neither maps"):
        DenseMatch().build((2, 3, 4, 4), (2, 5))
    with pytest.raises(ValueError, match=r"same shape, got \(2, 3\) and \(2, 4\)"):
        embedding_loss(torch.zeros(2, 3), torch.zeros(2, 4))
