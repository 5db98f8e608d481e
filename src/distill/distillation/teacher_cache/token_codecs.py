"""How a language model's distributions are stored: tokens drawn from them, or the largest logits with the others' mass.

A codec encodes logits (M, C) of some rows as named tensors of M rows, stacks those as float32 codes (…, K), and is
called with codes (M, K) in place of a model's head: it returns what a loss compares the student with.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from distill.distillation.teacher_cache.codecs import TopK, half
from distill.losses.sampled import TokenSamples

SMALL = 2**16  # tokens whose ids take two bytes


def _stored(ids: Tensor, classes: int) -> Tensor:
    """Ids in two bytes where the vocabulary is small: 0 … 65,535 as −32,768 … 32,767."""
    return (ids - SMALL // 2).short() if classes <= SMALL else ids.int()


def _ids(stored: Tensor) -> Tensor:
    return stored.long() + SMALL // 2 if stored.dtype == torch.int16 else stored.long()


@dataclass(frozen=True)
class Sampled:
    """n tokens drawn from softmax(z / T) with replacement: the different ones with counts and ln p, and the likeliest.

    Args:
        classes: C, the vocabulary.
        n: 1 to 255.
        T: of the distribution.
        seed: of the draws.
    """

    classes: int
    n: int
    T: float = 1.0
    seed: int = 0

    def encode(self, logits: Tensor, row: int) -> dict[str, Tensor]:
        """Of logits (M, C); the draws depend on ``row``, the number of the first row's sample, and the seed."""
        generator = torch.Generator(logits.device).manual_seed((self.seed * 0x9E3779B1 + row) % 2**63)
        log_p = (logits.float() / self.T).log_softmax(1)
        drawn = torch.multinomial(log_p.exp(), self.n, replacement=True, generator=generator).sort(1).values
        slot = torch.zeros_like(drawn)
        slot[:, 1:] = (drawn[:, 1:] != drawn[:, :-1]).cumsum(1)
        ids = torch.zeros_like(drawn).scatter_(1, slot, drawn)
        counts = torch.zeros_like(drawn).scatter_add_(1, slot, torch.ones_like(drawn))
        return {
            "ids": _stored(ids, self.classes),
            "counts": counts.byte(),
            "log_probs": half(log_p.gather(1, ids)),
            "top": _stored(log_p.argmax(1, keepdim=True), self.classes),
        }

    def codes(self, rows: Mapping[str, Tensor]) -> Tensor:
        """Of stored rows (…, ·) float32 (…, 3 n + 1)."""
        parts = (_ids(rows["ids"]), rows["counts"], rows["log_probs"], _ids(rows["top"]))
        return torch.cat([part.float() for part in parts], -1)

    def __call__(self, codes: Tensor) -> TokenSamples:
        """What was drawn at each row."""
        ids, counts, log_probs, top = torch.split(codes, [self.n, self.n, self.n, 1], -1)
        return TokenSamples(ids.long(), counts, log_probs, top[:, 0].long(), self.T)

    def difference(self, logits: Tensor, codes: Tensor) -> Tensor:
        """How far stored values of rows are from those of logits (M, C), relative to them."""
        found = self(codes)
        if not found.counts.sum(1).all():  # a row of which nothing was kept
            return logits.new_tensor(float("inf"))
        log_p = (logits.float() / self.T).log_softmax(1).gather(1, found.ids)
        error, drawn = (log_p - found.log_probs)[found.counts > 0], log_p[found.counts > 0]
        return error.square().mean().sqrt() / drawn.square().mean().sqrt().clamp(min=1e-6)

    @property
    def bytes(self) -> int:
        """Of one row."""
        width = 2 if self.classes <= SMALL else 4
        return self.n * (width + 1 + 2) + width

    def __str__(self) -> str:
        return f"{self.n} drawn tokens"


@dataclass(frozen=True)
class Largest:
    """The k largest logits, and the mass of all others, which share it evenly when read; biased, see ``TopK``.

    Args:
        classes: C, the vocabulary.
        k: 1 ≤ k < C.
    """

    classes: int
    k: int

    def encode(self, logits: Tensor, row: int) -> dict[str, Tensor]:
        """Of logits (M, C); always the same."""
        del row
        rows = TopK(self.classes, self.k).encode(logits)
        return {**rows, "classes": _stored(rows["classes"].long(), self.classes)}

    def codes(self, rows: Mapping[str, Tensor]) -> Tensor:
        """Of stored rows (…, ·) float32 (…, 2 k + 1)."""
        return torch.cat([_ids(rows["classes"]).float(), rows["values"].float(), rows["others"].float()], -1)

    def __call__(self, codes: Tensor) -> Tensor:
        """Logits (M, C)."""
        classes, values, others = torch.split(codes, [self.k, self.k, 1], -1)
        return TopK(self.classes, self.k).decode({"classes": classes, "values": values, "others": others})

    def difference(self, logits: Tensor, codes: Tensor) -> Tensor:
        """As of :class:`Sampled`."""
        classes, values, _ = torch.split(codes, [self.k, self.k, 1], -1)
        kept = logits.float().gather(1, classes.long())
        return (kept - values).square().mean().sqrt() / kept.square().mean().sqrt().clamp(min=1e-6)

    @property
    def bytes(self) -> int:
        """Of one row."""
        return self.k * (2 + (2 if self.classes <= SMALL else 4)) + 4

    def __str__(self) -> str:
        return f"the {self.k} largest logits and the others' mass"


TokenCodec = Sampled | Largest
