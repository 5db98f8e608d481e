"""One class per word of a text: logits (N, L, C), of which the first token of each word counts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy

from distill.data.targets import IGNORED
from distill.tasks.base import Reader, Targets
from distill.tasks.entity_f1 import EntityF1
from distill.tasks.info import AGREEMENT, Metric
from distill.tasks.metrics import TokenMetrics
from distill.tasks.of_tokens import OfTokens
from distill.utils.errors import UserError
from distill.utils.units import percent

WEAK_F1 = 0.05  # of a teacher, from which there is little to learn


class TokenClassification(OfTokens):
    """Token classification: named entities in BIO tags, or any other class per word.

    L_hard is cross-entropy, the mean over the words of a batch. The terms of L_soft see the words as rows (M, C): a
    word's row is that of its first token; special tokens, padding and the other tokens of a word have none.

    Args:
        num_classes: C, the number of tags.
        class_names: the tags; where some begin with "B-" or "I-", entities are counted.
        score: the metric that chooses: "f1" (entity F1, as seqeval counts), "acc" (words) or "agreement".

    Raises:
        UserError: entities are to be counted, and the tags are none of BIO.
    """

    name = "tokens"
    metric_infos = (Metric("f1", "entity F1"), Metric("acc", "accuracy of words"), AGREEMENT)
    default_score = "f1"
    targets: ClassVar[Targets] = "tokens"
    output: ClassVar[Literal["text", "tokens", "embedding", "causal"]] = "tokens"

    def __init__(self, num_classes: int, class_names: Sequence[str], score: str | None = None) -> None:
        self.tags = tuple(map(str, class_names))
        super().__init__(num_classes, score)
        if not any(tag.startswith(("B-", "I-")) for tag in self.tags):
            if self.info.score == "f1":
                shown = ", ".join(self.tags[:5])
                raise UserError(f"task.score=f1 counts entities in BIO tags, and the tags are {shown}: task.score=acc")
            self.without("f1")
            return
        try:
            EntityF1(self.tags)
        except ValueError as error:
            raise UserError(f"task=tokens: {error}") from error

    def combined(
        self, outputs: Sequence[Tensor], target: Tensor, mean: Callable[[Sequence[Tensor], Tensor], Tensor]
    ) -> Tensor:
        """The logits (N, L, C) of every position's mean."""
        return mean([self.rows(output) for output in outputs], target.flatten()).reshape(outputs[0].shape)

    def refusal(self, term: Reader) -> str | None:
        """Terms that need one class or one embedding per text are refused."""
        reads = {name.partition("_")[2] or name for name in term.all_reads}
        if {"embedding", "index"} & reads:
            return "it compares whole texts, and here every word has a class"
        if "target" in reads and "logits" not in reads:
            return "it needs one class per text"
        if "logits" in reads and term.standardize and self.num_classes == 2:
            return "standardize=true makes every row of two logits alike"
        return None

    def metrics(self, with_agreement: bool) -> TokenMetrics:
        """Entity F1, accuracy of words, and agreement: the share of words that student and teacher tag alike."""

        def accuracy() -> MulticlassAccuracy:
            return MulticlassAccuracy(self.num_classes, average="micro", validate_args=False)

        has_entities = "f1" in {metric.name for metric in self.info.metrics}
        entities = {"f1": EntityF1(self.tags)} if has_entities else {}
        return TokenMetrics({**entities, "acc": accuracy()}, accuracy() if with_agreement else None)

    def weakness(self, scores: Mapping[str, float]) -> str | None:
        """That it finds hardly any entity."""
        if scores.get("f1", 1.0) >= WEAK_F1:
            return None
        advice = "train it longer or at another rate (teacher.recipe.max_epochs, teacher.recipe.optimizer.lr)"
        return f"finding hardly any entity (F1 {percent(scores['f1'])}): {advice}"

    def by_entity(self, output: Tensor, target: Tensor) -> dict[str, dict[str, float]]:
        """F1, precision, recall and support of each type of entity; {} where the tags are none of BIO."""
        if "f1" not in {metric.name for metric in self.info.metrics}:
            return {}
        entities = EntityF1(self.tags)
        entities.update(output.argmax(-1), target)
        return entities.by_type()

    def decode(self, output: Tensor, names: Sequence[str]) -> list[dict[str, Any]]:
        """The likeliest tag of every position, under "tags"."""
        return [{"tags": [names[number] for number in row]} for row in output.argmax(-1).tolist()]

    def predicted_values(self, output: Tensor, names: Sequence[str], target: Tensor) -> dict[str, Any]:
        """The tags of the words, under "tags"."""
        return {"tags": [names[number] for number in output[target != IGNORED].argmax(-1).tolist()]}

    def target_values(self, target: Tensor, names: Sequence[str]) -> dict[str, Any]:
        """The tags of the words, under "tags"."""
        return {"tags": [names[number] for number in self.row_targets(target).tolist()]}

    def example_target(self, n: int, inputs: Any = None) -> Tensor:
        """Class numbers of all positions, int64 (n, L)."""
        length = 8 if inputs is None else inputs["input_ids"].shape[1]
        return (torch.arange(n * length) % self.num_classes).reshape(n, length)
