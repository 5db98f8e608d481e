"""Perplexity, and how far a student's distributions are from its teacher's, without logits of all tokens at once."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import SumMetric

from distill.data.targets import IGNORED
from distill.losses.checks import upcast
from distill.losses.chunked import ROWS
from distill.losses.logits.kd import KD
from distill.losses.sampled import TokenSamples, sampled_loss
from distill.models.outputs import Outputs

NAMES = ("nats", "kl", "agree", "tokens", "compared")


def row_logits(outputs: Outputs, rows: Tensor) -> Tensor:
    """Logits (M, C) of some rows of a model's output, in float32 at least."""
    return upcast(rows if outputs.head is None else outputs.head(rows))


def compared(log_q: Tensor, teacher: Outputs, rows: Tensor) -> tuple[Tensor | None, Tensor]:
    """Σ_M KL(p ‖ q) at temperature 1 and the teacher's likeliest tokens, int64 (M,).

    Of a teacher whose tokens were drawn at another temperature than 1 the KL is None: they do not tell it.

    Args:
        log_q: ln q of the student, (M, C).
        teacher: whose head makes logits of rows, or reads what was drawn.
        rows: (M, ·) of its output.
    """
    assert teacher.head is not None
    found = teacher.head(rows)
    if isinstance(found, TokenSamples):
        if found.T != 1:
            return None, found.top
        return sampled_loss(KD(T=1.0), log_q, found) * len(rows), found.top
    log_p = upcast(found).log_softmax(1)
    return F.kl_div(log_q, log_p, reduction="sum", log_target=True), log_p.argmax(1)


class LanguageMetrics(nn.Module):
    """Over the valid tokens of a split: exp of the mean cross-entropy, mean KL(p ‖ q), and the share of equal argmaxes.

    p is the teacher's distribution and q the student's, at temperature 1, in nats. On the training split nothing is
    measured: the loss says as much, and the output layers would be computed twice.

    Args:
        with_agreement: whether there is a teacher to compare with.
    """

    def __init__(self, with_agreement: bool) -> None:
        super().__init__()
        self._with_agreement, self._has_kl = with_agreement, True
        self.sums = nn.ModuleDict({name: SumMetric("disable").set_dtype(torch.float64) for name in NAMES})

    @torch.no_grad()
    def update(self, student: Outputs, teacher: Outputs | None, target: Tensor) -> None:
        """Take one batch."""
        if self.training:
            return
        valid = target != IGNORED
        rows, labels = student.logits[valid], target[valid]
        expected = None if teacher is None or not self._with_agreement else teacher.logits[valid]
        totals = torch.zeros(3, dtype=torch.float64, device="cpu")
        for start in range(0, len(rows), ROWS):
            chunk = slice(start, start + ROWS)
            log_q = row_logits(student, rows[chunk]).log_softmax(1)
            found = [F.nll_loss(log_q, labels[chunk], reduction="sum"), log_q.new_zeros(()), log_q.new_zeros(())]
            if expected is not None and teacher is not None:
                kl, top = compared(log_q, teacher, expected[chunk])
                self._has_kl = kl is not None
                found[1:] = [found[1] if kl is None else kl, (top == log_q.argmax(1)).sum()]
            totals += torch.stack([value.double() for value in found]).cpu()
        tokens = float(len(rows))
        values = (*totals.tolist(), tokens, tokens if expected is not None else 0.0)
        for metric, value in zip(self.sums.values(), values, strict=True):
            metric.update(value)  # type: ignore[operator]

    def compute(self) -> dict[str, Tensor]:
        """The values by name, over all processes, and reset; none where nothing was measured."""
        metrics = list(self.sums.values())
        if not metrics[0].update_called:
            return {}
        nats, kl, agree, tokens, compared = (metric.compute() for metric in metrics)  # type: ignore[operator]
        for metric in metrics:
            metric.reset()  # type: ignore[operator]
        values = {"perplexity": (nats / tokens.clamp(min=1)).exp()}
        if compared:
            values["agreement"] = agree / compared
            values |= {"kl": kl / compared} if self._has_kl else {}
        return values
