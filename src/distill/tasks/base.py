"""What a task is: how a model's output is supervised, seen by the terms, measured and scored."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from distill.data import DataModule
from distill.data.targets import Targets as Targets
from distill.losses.protocols import ComparesRows
from distill.models.outputs import Outputs
from distill.tasks.info import Metric, TaskInfo
from distill.tasks.protocols import Reader as Reader, TaskData as TaskData
from distill.utils.errors import UserError, nearest


def example_shape(dims: int, num_classes: int) -> tuple[int, ...]:
    """The shape of one sample's output with as few positions as there can be."""
    return (1, num_classes, 1, 1) if dims == 4 else (*[1] * (dims - 1), num_classes)


class Task(ABC):
    """A strategy object that criterion, LightningModule, builders and results ask about the kind of prediction.

    A task of your own derives from this class and is named by a YAML file of the group ``task``. Its constructor is
    offered what the data determine: ``num_classes`` (how many outputs there are), their names ``class_names``, the
    ``kind`` of the samples ("images", "text") and, for numbers, ``target_mean`` and ``target_std`` of the training
    samples, K floats each.

    Attributes:
        info: names and directions of its metrics, and the one that chooses.
        targets: what the data must hold: one class per sample (int64 (N,)), labels that may be several (0/1, float32
            (N, C)), numbers (float32 (N, K)), or nothing.
        mixes: whether mixup and CutMix may mix two samples, whose target then is (N, C) shares.
        optional_infos: metrics that are measured where they are asked for.
        default_score: the metric that chooses where ``score`` is not given.
        has_classifier: whether a model keeps its classifier; else its output is the embedding.
        dims: of a model's output: 2 for (N, C), 3 for (N, L, C), 4 for (N, C, H, W).
        auxiliary_weight: of the supervised loss of a second head that a model has in training (torchvision's
            ``aux_classifier``), beside that of its output.
        output: what a model of texts gives: "text" (one output per text), "tokens", "embedding", or "causal" (the last
            hidden states of a language model).
        counts_tokens: a loss is a mean over :meth:`weight`, of a step of several batches or processes over all of it.
    """

    name: ClassVar[str]
    metric_infos: ClassVar[tuple[Metric, ...]]
    optional_infos: ClassVar[tuple[Metric, ...]] = ()
    default_score: ClassVar[str]
    targets: ClassVar[Targets] = "classes"
    mixes: ClassVar[bool] = False
    has_classes: ClassVar[bool] = False
    has_classifier: ClassVar[bool] = True
    dims: ClassVar[int] = 2
    auxiliary_weight: float = 0.0
    output: ClassVar[Literal["text", "tokens", "embedding", "causal"]] = "text"
    counts_tokens: ClassVar[bool] = False

    def __init__(self, num_classes: int, score: str | None = None) -> None:
        self.num_classes = num_classes
        self.info = self.described(score)

    @classmethod
    def described(cls, score: str | None = None) -> TaskInfo:
        """Its metrics, and the one that chooses.

        Raises:
            UserError: there is no such metric.
        """
        names = [metric.name for metric in (*cls.metric_infos, *cls.optional_infos)]
        score = cls.default_score if score is None else score
        if score not in names:
            raise UserError(f"task.score={score}: {cls.name} has no such metric; {nearest(score, names)}")
        asked = (metric for metric in cls.optional_infos if metric.name == score)
        return TaskInfo(cls.name, score, (*cls.metric_infos, *asked), cls.has_classes)

    @property
    def score(self) -> Metric:
        """The metric by which models are chosen and compared."""
        return self.info.chooses

    def model_arguments(self, data: TaskData) -> dict[str, Any]:
        """Arguments of a model's constructor that depend on the data."""
        return {"num_classes": data.num_classes, **data.model_arguments(self.output)}

    @abstractmethod
    def supervised_loss(self, output: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor | None:
        """The loss of a model's output against the labels, a mean over the batch; None: there are no labels."""

    def rows(self, output: Tensor, target: Tensor | None = None) -> Tensor | None:
        """The distributions that logit terms compare, as logits (M, C); None: an output is no distribution.

        M need not be the number of samples: a sample may have several rows (labels, tokens, pixels), and some of its
        positions none.

        Args:
            output: of a model.
            target: of the batch, for tasks in which it says which positions count; None: all do.
        """
        del target
        return output

    def sized(self, output: Tensor, target: Tensor) -> Tensor:
        """An output at the size of the target, where a model's may be of another: maps of a stride."""
        del target
        return output

    def compared_rows(self, count: int, device: torch.device) -> Tensor | None:
        """Which rows a loss sees that compares rows with one another, int64 (M,); None: all of them.

        Args:
            count: of all rows.
            device: of the result.
        """
        del count, device
        return None

    def _example_rows(self) -> Tensor | None:
        return self.rows(torch.zeros(example_shape(self.dims, self.num_classes)))

    @property
    def has_distributions(self) -> bool:
        """Whether an output is one or several distributions, which logit terms compare."""
        return self._example_rows() is not None

    def row_targets(self, target: Tensor) -> Tensor:
        """For each row its class, int64 (M,), or shares (M, C)."""
        return target

    def note(self, output: Sequence[int], inputs: Any) -> str | None:
        """What is said, once, of a model whose output has this shape for these inputs; None: nothing."""
        del output, inputs
        return None

    def recorded(self, outputs: Outputs, target: Tensor) -> Tensor:
        """What an evaluation keeps of a model's outputs for one batch, (N, …), and later measures: here all of it."""
        del target
        return outputs.at_target

    def combined(
        self, outputs: Sequence[Tensor], target: Tensor, mean: Callable[[Sequence[Tensor], Tensor], Tensor]
    ) -> Tensor:
        """One output of those of several teachers, where these are distributions; shaped as each of them.

        Args:
            outputs: of the teachers.
            target: of the batch.
            mean: from logits, several times (M, C), and the targets of their rows, to the logits (M, C) of a mean.
        """
        return mean(outputs, target)

    def refusal(self, term: Reader) -> str | None:
        """Why a term makes no sense in this task; None: it does."""
        reads = {name.partition("_")[2] for name in term.all_reads}
        rows = self._example_rows()
        if "logits" in reads and rows is None:
            return "it compares distributions over classes, and this task has none"
        if self.has_classes:
            return None
        if "logits" in reads and term.standardize and rows is not None and rows.shape[1] == 2:
            return "standardize=true makes every row of two logits alike"
        if "target" in term.all_reads and "logits" not in reads:
            return "it needs one class per sample"
        if "logits" in reads and isinstance(term.loss, ComparesRows) and term.loss.compares_rows:
            return "it compares the samples of a class with each other, and a sample has several rows here"
        return None

    @abstractmethod
    def metrics(self, with_agreement: bool) -> nn.Module:
        """Metrics of one split: ``update(student, teacher, target)``, and ``compute()`` to values by name.

        Args:
            with_agreement: also measure how far the student predicts as its teacher.
        """

    def decode(self, output: Tensor, names: Sequence[str]) -> list[dict[str, Any]]:
        """What is predicted for each sample, by name, as a table or JSON shows it: here every output as it is.

        Args:
            output: of a model, (N, C) or (N, L, C).
            names: of the C outputs.
        """
        return [dict(zip(names, row, strict=True)) for row in output.float().tolist()]

    def predicted_values(self, output: Tensor, names: Sequence[str], target: Tensor) -> dict[str, Any]:
        """What is predicted for one sample, by name, beside its target; see :meth:`decode`."""
        del target
        (values,) = self.decode(output[None], names)
        return values

    def target_values(self, target: Tensor, names: Sequence[str]) -> dict[str, Any]:
        """The target of one sample, by name."""
        return dict(zip(names, target.tolist(), strict=True))

    def sample_losses(self, output: Tensor, target: Tensor) -> Tensor:
        """By what the hardest samples are found: the supervised loss of each, float32 (N,); zeros without labels."""
        rows = (self.supervised_loss(output[i : i + 1].float(), target[i : i + 1]) for i in range(len(output)))
        return torch.tensor([0.0 if loss is None else float(loss) for loss in rows])

    def by_output(self, output: Tensor, target: Tensor) -> dict[str, list[float]]:
        """Scores of each single output by their labels, in the order of the outputs; {}: there are none to show."""
        del output, target
        return {}

    def by_entity(self, output: Tensor, target: Tensor) -> dict[str, dict[str, float]]:
        """Scores of each type of what is found within samples, as entities of texts; {}: there are no such types."""
        del output, target
        return {}

    def measure(self, output: Tensor, target: Tensor, teacher: Tensor | None = None) -> dict[str, float]:
        """All metrics of outputs (N, C) against targets, and against a teacher's outputs where they are given."""
        metrics = self.metrics(with_agreement=teacher is not None)
        expected = None if teacher is None else Outputs(teacher, {}, None)
        metrics.update(Outputs(output, {}, None), expected, target)  # type: ignore[operator]
        return {name: float(value) for name, value in metrics.compute().items()}  # type: ignore[operator]

    def weight(self, target: Tensor) -> int:
        """How much a batch counts in the means of an epoch: as much as its loss is a mean over, here its samples."""
        return len(target)

    def example_target(self, n: int, inputs: Any = None) -> Tensor:
        """Targets of ``n`` samples with these inputs, for a dry run."""
        del inputs
        return torch.zeros(n, self.num_classes)

    def weakness(self, scores: Mapping[str, float]) -> str | None:
        """Why a teacher with these scores teaches little ("it is hardly better than chance"); None: it may."""
        del scores
        return None

    def prepare(self, data: DataModule[Any]) -> None:
        """Checks, before any training, what the task reads beside the data.

        Raises:
            UserError: it is missing.
        """
        del data

    def final_scores(self, model: nn.Module, fresh: Callable[[], nn.Module] | None = None) -> Mapping[str, float]:
        """Scores of a frozen model that are measured once, at the end, beside those of the test split.

        Args:
            model: in the run's final state.
            fresh: of the student, makes one with random weights.
        """
        del model, fresh
        return {}

    def without(self, *names: str) -> None:
        """Leave metrics out of ``info`` that these data do not have.

        Raises:
            UserError: one of them chooses.
        """
        if self.info.score in names:
            raise UserError(f"task.score={self.info.score}: these data do not have it")
        metrics = tuple(metric for metric in self.info.metrics if metric.name not in names)
        self.info = replace(self.info, metrics=metrics)
