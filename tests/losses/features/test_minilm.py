import numpy as np
import pytest
import torch

from distill.losses import MiniLM, minilm_loss
from distill.losses.features.minilm import relation_heads_of

LENGTHS = (5, 2, 4)


def relation(vectors, i):
    """The distribution of token i over the tokens of its text; vectors: those of one head, (tokens, d_r)."""
    scores = np.array([vectors[i] @ other for other in vectors]) / np.sqrt(vectors.shape[1])
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def reference(student, teacher, lengths, heads):
    """Text by text without its padding, head by head, token by token."""
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        found = []
        for n, length in enumerate(lengths):
            for a, b in zip(
                np.split(s[n, :length].numpy(), heads, axis=1),
                np.split(t[n, :length].numpy(), heads, axis=1),
                strict=True,
            ):
                for i in range(length):
                    p, q = relation(b, i), relation(a, i)
                    found.append((p * np.log(p / q)).sum())
        total += sum(found) / len(found)
    return total


def attention(width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(3, 5, width, generator=generator, dtype=torch.float64) for _ in range(3)]


@pytest.fixture
def mask():
    return (torch.arange(5) < torch.tensor(LENGTHS)[:, None]).long()


@pytest.mark.parametrize(("student", "teacher", "heads"), [(8, 8, 4), (4, 12, 2), (6, 9, 1), (12, 24, 12)])
def test_equals_the_formula(mask, student, teacher, heads):
    s, t = attention(student), attention(teacher, seed=1)
    expected = reference(s, t, LENGTHS, heads)
    assert minilm_loss(s, t, mask, heads).item() == pytest.approx(expected, rel=1e-9)
    loss = MiniLM(heads)
    loss.build([x.shape for x in s], [x.shape for x in t])
    assert loss(s, t, mask).item() == pytest.approx(expected, rel=1e-9)
    assert minilm_loss(s, t, None, heads).item() == pytest.approx(reference(s, t, (5, 5, 5), heads), rel=1e-9)


def test_keys_narrower_than_queries(mask):
    """As with grouped queries; the heads divide all widths."""
    s, t = attention(8), attention(12, seed=1)
    s[1], s[2] = s[1][..., :4], s[2][..., :4]
    loss = MiniLM()
    loss.build([x.shape for x in s], [x.shape for x in t])
    assert loss.heads == 4
    assert loss(s, t, mask).item() == pytest.approx(reference(s, t, LENGTHS, 4), rel=1e-9)


def test_gradient_reaches_valid_tokens_only(mask):
    s, t = attention(4), attention(6, seed=1)
    tensors = [x.requires_grad_() for x in s]
    assert torch.autograd.gradcheck(lambda *given: minilm_loss(list(given), t, mask, 2), tensors)
    minilm_loss(s, t, mask, 2).backward()
    for x in s:
        assert ((x.grad.abs().sum(2) > 0) == (mask > 0)).all()


def test_extreme_products_and_texts_without_tokens_are_finite(mask):
    """Scores of 1e6, one token that is all, and a text of padding: in float32, forward and backward."""
    mask[1] = 0
    s, t = ([1e3 * x.float() for x in attention(8, seed)] for seed in (0, 1))
    tensors = [x.requires_grad_() for x in s]
    loss = minilm_loss(s, t, mask, 4)
    loss.backward()
    assert loss.isfinite()
    assert all(x.grad.isfinite().all() for x in tensors)
    assert minilm_loss(s, t, 0 * mask, 4).item() == 0


def test_the_number_of_heads_fits_both_widths():
    assert relation_heads_of([768], [768]) == 12
    assert relation_heads_of([128], [384]) == 8
    assert relation_heads_of([35, 35, 7], [70]) == 7
    assert relation_heads_of([5], [7]) == 1
    assert relation_heads_of([768], [768], 48) == 48
    message = r"relation_heads=12 must divide .*, 128, 128 \(student\) and 384 \(teacher\): one of 1, 2, 4, 8, 16, 32"
    with pytest.raises(ValueError, match=message):
        relation_heads_of([128, 128], [384], 12)


def test_what_is_refused(mask):
    shape = (3, 5, 8)
    with pytest.raises(ValueError, match="relation_heads must be an integer of at least 1, got 0"):
        MiniLM(0)
    with pytest.raises(ValueError, match=r"relation_heads=3 must divide .* one of 1, 2, 4, 8"):
        MiniLM(3).build([shape] * 3, [shape] * 3)
    with pytest.raises(ValueError, match="MiniLM needs at least 3 stages"):
        MiniLM().build([shape] * 2, [shape] * 2)
    with pytest.raises(ValueError, match="must see the same tokens, got 5 and 6"):
        MiniLM().build([shape] * 3, [(3, 6, 8)] * 3)
    with pytest.raises(ValueError, match="attention_mask must have the shape"):
        minilm_loss(attention(8), attention(8), mask[:2], 2)
