"""The next token of a text: last hidden states (N, L, D), of which a head makes logits where they are needed."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from distill.data.targets import IGNORED
from distill.losses.chunked import ROWS
from distill.losses.protocols import ComparesRows
from distill.models.outputs import Outputs
from distill.tasks.base import Reader, Targets, TaskData
from distill.tasks.info import AGREEMENT, Metric
from distill.tasks.language_metrics import LanguageMetrics, row_logits
from distill.tasks.of_tokens import OfTokens


def _exp(nats: float) -> float:
    """Where it is too large, inf, as in training."""
    return float(torch.tensor(nats, dtype=torch.float64).exp())


class CausalLM(OfTokens):
    """Causal language modelling.

    L_hard is the cross-entropy of the next token. It and the terms of L_soft are means over the valid tokens: those
    that follow another token of their own document and, of a conversation, belong to an answer. A model's output is its
    last hidden states, and logits of all tokens never exist at once.

    Args:
        num_classes: not used; the vocabulary is the models'.
        score: the metric that chooses: "perplexity", "kl" or "agreement".
    """

    name = "causal_lm"
    metric_infos = (
        Metric("perplexity", "perplexity", "min", "number"),
        Metric("kl", "KL(teacher ‖ student)", "min", "number", needs_teacher=True),
        AGREEMENT,
    )
    default_score = "perplexity"
    targets: ClassVar[Targets] = "next_token"
    has_classifier = False
    counts_tokens = True
    output: ClassVar[Literal["text", "tokens", "embedding", "causal"]] = "causal"

    def model_arguments(self, data: TaskData) -> dict[str, Any]:
        """What the data say; a language model has no classes."""
        return {**super().model_arguments(data), "num_classes": 2, "class_names": None}

    def refusal(self, term: Reader) -> str | None:
        """Terms on whole texts, and those that compare rows with one another, are refused."""
        reads = {name.partition("_")[2] or name for name in term.all_reads}
        if {"embedding", "output", "index"} & reads:
            return "it compares whole texts, and here every token has a distribution"
        if "target" in reads and "logits" not in reads:
            return "it needs one class per text"
        if "logits" in reads and isinstance(term.loss, ComparesRows) and term.loss.compares_rows:
            return "it compares rows with each other, and logits are there for a few rows at a time"
        return None

    def metrics(self, with_agreement: bool) -> LanguageMetrics:
        """Perplexity, KL(teacher ‖ student) and top-1 agreement."""
        return LanguageMetrics(with_agreement)

    def weakness(self, scores: Mapping[str, float]) -> str | None:
        """That it hardly knows the language of the data: a perplexity above 1,000."""
        found = scores.get("perplexity", 0.0)
        return f"hardly knowing these texts (perplexity {found:.4g})" if not found < 1000 else None

    @torch.no_grad()
    def recorded(self, outputs: Outputs, target: Tensor) -> Tensor:
        """Of each position the log-probability of its target in nats and the likeliest token, float32 (N, L, 2).

        Both are 0 where nothing is to be learnt.
        """
        valid = target != IGNORED
        rows, labels = outputs.logits[valid], target[valid]
        found = torch.zeros(*target.shape, 2, device=target.device)
        parts = [rows.new_zeros((0, 2), dtype=torch.float32)]
        for start in range(0, len(rows), ROWS):
            log_q = row_logits(outputs, rows[start : start + ROWS]).log_softmax(1)
            of_target = log_q.gather(1, labels[start : start + ROWS, None])
            parts.append(torch.cat([of_target, log_q.argmax(1, keepdim=True)], 1).float())
        found[valid] = torch.cat(parts)
        return found

    def sample_losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean cross-entropy of each sample's valid tokens, float32 (N,), of what :meth:`recorded` gave."""
        valid = target != IGNORED
        return (-(output[..., 0] * valid).double().sum(1) / valid.sum(1).clamp(min=1)).float()

    def _nats(self, output: Tensor, target: Tensor) -> float:
        """Mean cross-entropy over all valid tokens."""
        return -float(output[..., 0][target != IGNORED].double().sum()) / max(1, self.weight(target))

    def measure(self, output: Tensor, target: Tensor, teacher: Tensor | None = None) -> dict[str, float]:
        """Perplexity and, with a teacher, agreement, of what :meth:`recorded` gave."""
        values = {"perplexity": _exp(self._nats(output, target))}
        if teacher is not None and output.shape[-1] > 1:
            valid = target != IGNORED
            values["agreement"] = float((output[..., 1] == teacher[..., 1])[valid].double().mean())
        return values

    def predicted_values(self, output: Tensor, names: Sequence[str], target: Tensor) -> dict[str, Any]:
        """The perplexity of one row of documents."""
        del names
        return {"perplexity": _exp(self._nats(output, target))}

    def target_values(self, target: Tensor, names: Sequence[str]) -> dict[str, Any]:
        """How many tokens of a row are learnt."""
        del names
        return {"tokens": self.weight(target)}

    def example_target(self, n: int, inputs: Any = None) -> Tensor:
        """The next token of every position but the last, int64 (n, L)."""
        if inputs is None:
            return torch.zeros(n, 8, dtype=torch.int64)
        target = torch.full_like(inputs["input_ids"], IGNORED)
        target[:, :-1] = inputs["input_ids"][:, 1:]
        return target
