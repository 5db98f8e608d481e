import numpy as np
import pytest
import torch

from distill.losses import HiddenStates, hidden_loss


def reference(s, t, mask, distance):
    """Token by token, over those that the mask keeps."""
    found = []
    for n in range(len(s)):
        for i in range(s.shape[1]):
            if mask[n][i]:
                a, b = np.asarray(s[n, i]), np.asarray(t[n, i])
                if distance == "mse":
                    found.append(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / len(a))
                else:
                    found.append(1 - a @ b / np.sqrt((a @ a) * (b @ b)))
    return sum(found) / len(found)


@pytest.fixture
def texts():
    """Hidden states of three texts of 5, 2 and 4 tokens, padded to 5."""
    torch.manual_seed(0)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 1, 0]])
    s, t = (torch.randn(3, 5, 6, dtype=torch.float64) for _ in range(2))
    return s, t, mask


@pytest.mark.parametrize("distance", ["mse", "cosine"])
def test_equals_the_formula(texts, distance):
    s, t, mask = texts
    assert hidden_loss(s, t, mask, distance).item() == pytest.approx(reference(s, t, mask, distance), rel=1e-12)
    every = torch.ones_like(mask)
    assert hidden_loss(s, t, None, distance).item() == pytest.approx(reference(s, t, every, distance), rel=1e-12)
    assert HiddenStates(distance)(s, t, mask).item() == hidden_loss(s, t, mask, distance).item()
    assert HiddenStates()(s, t, mask).item() == hidden_loss(s, t, mask, "mse").item()


@pytest.mark.parametrize("distance", ["mse", "cosine"])
def test_gradient_reaches_valid_tokens_only(texts, distance):
    s, t, mask = texts
    assert torch.autograd.gradcheck(lambda x: hidden_loss(x, t, mask, distance), s.requires_grad_())
    hidden_loss(s, t, mask, distance).backward()
    assert ((s.grad.abs().sum(2) > 0) == (mask > 0)).all()


def test_another_width_goes_through_a_linear_layer(texts):
    torch.manual_seed(0)
    _, t, mask = texts
    s = torch.randn(3, 5, 4, dtype=torch.float64)
    loss = HiddenStates()
    loss.build(student_feature=(3, 5, 4), teacher_feature=(3, 5, 6))
    loss.double()
    weight, bias = (parameter.detach().numpy() for parameter in loss.projection.parameters())
    projected = torch.tensor(s.numpy() @ weight.T + bias)
    assert loss(s, t, mask).item() == pytest.approx(reference(projected, t, mask, "mse"), rel=1e-12)
    loss(s, t, mask).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in loss.parameters())
    same = HiddenStates()
    same.build((3, 5, 6), (3, 5, 6))
    assert not list(same.parameters())


def test_nothing_but_padding_is_0(texts):
    s, t, mask = texts
    for distance in ("mse", "cosine"):
        assert hidden_loss(s, t, 0 * mask, distance).item() == 0


def test_what_is_refused(texts):
    s, t, mask = texts
    with pytest.raises(ValueError, match="distance must be one of mse, cosine, got 'l1'"):
        HiddenStates("l1")
    with pytest.raises(ValueError, match=r"shape \(N, L, D\), tokens of a transformer, got \(2, 3, 4, 4\) and"):
        HiddenStates().build((2, 3, 4, 4), (2, 3, 4, 4))
    with pytest.raises(ValueError, match="must see the same tokens, got 5 and 7: .* needs one tokenizer for both"):
        HiddenStates().build((3, 5, 6), (3, 7, 6))
    with pytest.raises(ValueError, match="must see the same tokens, got 4 and 5"):
        hidden_loss(s[:, :4], t)
    with pytest.raises(ValueError, match=r"attention_mask must .* student's tokens, \(3, 5\), got \(3, 4\)"):
        hidden_loss(s, t, mask[:, :4])
    with pytest.raises(ValueError, match=r"same shape, got \(3, 5, 5\) and \(3, 5, 6\)"):
        hidden_loss(s[..., :5], t)
