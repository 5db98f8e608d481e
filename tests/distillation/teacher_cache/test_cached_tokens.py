"""The cache of a teacher whose logits are of tokens: rows as long as each text, whatever its batch was padded to."""

import torch
from torch import nn

from cached_teachers import INDEX, C, Counted, cached
from distill.data import Batch


def tagger():
    """Logits (N, L, C) of tokens."""
    return Counted(lambda: nn.Embedding(100, C))


def test_logits_of_tokens_are_stored_whatever_the_length_of_a_batch(tmp_path):
    def texts(length, order):
        ids = (INDEX[order, None] + torch.arange(length)) % 100
        return Batch({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, INDEX[order] % C, INDEX[order])

    first = cached(tmp_path, tagger(), cycle=1, length=6)
    written = [first(texts(4, [0, 1, 2])), first(texts(6, [3, 4, 5]))]
    first.flush()
    second = cached(tmp_path, tagger(), cycle=1, length=6)
    read = [second(texts(4, [2, 0, 1])), second(texts(6, [3, 4, 5]))]
    assert second.model.seen == 3  # the first batch, again
    assert torch.equal(read[0].logits, written[0].logits[[2, 0, 1]])
    assert torch.equal(read[1].logits, written[1].logits)
    assert read[0].logits.shape == (3, 4, C)
    assert second.drift < 1e-3
    third = cached(tmp_path, tagger(), cycle=1, length=6)  # in another company, where padding is longer
    padded = texts(6, [0, 3, 1])
    padded.inputs["attention_mask"][:, 4:] = torch.tensor([[0, 0], [1, 1], [0, 0]])
    third(padded)
    assert third.drift < 1e-3
