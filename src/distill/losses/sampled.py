"""Losses that are an expectation over the teacher's distribution, estimated from tokens that were drawn from it."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch.nn.functional as F
from torch import Tensor

from distill.losses.checks import full_precision


@dataclass(frozen=True)
class TokenSamples:
    """Tokens drawn from a teacher's distribution p = softmax(z_t / T) at each of M rows, S different ones at most.

    Attributes:
        ids: of the tokens, int64 (M, S).
        counts: how often each was drawn, (M, S); 0 where there are fewer than S.
        log_probs: ln p of each, (M, S).
        top: the likeliest token of each row, int64 (M,).
        T: the temperature.
    """

    ids: Tensor
    counts: Tensor
    log_probs: Tensor
    top: Tensor
    T: float


@runtime_checkable
class SampledLoss(Protocol):
    """A logit loss of the form c · Σ_C p f(p, q), p = softmax(z_t / T) and q = softmax(z_s / T).

    Attributes:
        T: temperature.
    """

    T: float

    def per_token(self, log_p: Tensor, log_q: Tensor) -> Tensor | None:
        """C · f of tokens by ln p and ln q; None: with these settings the loss has no such form."""


@full_precision
def sampled_loss(loss: SampledLoss, student_logits: Tensor, samples: TokenSamples) -> Tensor:
    """mean_M Σ_S (count / n) · c · f(ln p, ln q): its mean over draws is the loss on whole distributions.

    Args:
        loss: KD, SkewKL (not reverse) or TVD.
        student_logits: z_s, shape (M, C).
        samples: of the same rows, drawn at the loss's temperature.

    Returns:
        A scalar, the loss's unit; single draws of a divergence may be below 0.

    Raises:
        ValueError: the loss has no such form, or another temperature than the samples.

    Source: Anshumann et al. 2025, "Sparse Logit Sampling: Accelerating Knowledge Distillation in LLMs",
    arXiv:2503.16870.
    """
    if loss.T != samples.T:
        raise ValueError(f"the teacher's tokens were drawn at T={samples.T:g}, and the loss has T={loss.T:g}")
    log_q = F.log_softmax(student_logits / loss.T, dim=1).gather(1, samples.ids)
    values = loss.per_token(samples.log_probs, log_q)
    if values is None:
        raise ValueError("it is no expectation over the teacher's distribution, which drawn tokens could estimate")
    shares = samples.counts / samples.counts.sum(1, keepdim=True).clamp(min=1)
    return (shares * values).sum(1).mean()
