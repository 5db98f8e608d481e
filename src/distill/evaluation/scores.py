"""Scores of one model: accuracy by class, confusion, F1, calibration."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_matthews_corrcoef,
)

from distill.evaluation.results import ClassificationScores, ReliabilityBin

BINS = 15


def brier(probabilities: Tensor, target: Tensor) -> Tensor:
    """Brier score: mean over samples of Σ_c (p_c − [c = target])².

    Args:
        probabilities: (N, C), rows sum to 1.
        target: class numbers, int64 (N,).

    Returns:
        Scalar in [0, 2].

    Source: Brier 1950, "Verification of Forecasts Expressed in Terms of Probability".

    Example:
        >>> brier(torch.tensor([[1.0, 0.0], [0.5, 0.5]]), torch.tensor([0, 1]))
        tensor(0.2500)
    """
    return (probabilities - F.one_hot(target, probabilities.shape[1])).square().sum(1).mean()


def below_one(probabilities: Tensor) -> Tensor:
    """Probabilities clamped to the largest float32 below 1: torchmetrics puts exactly 1.0 into an extra bin."""
    return probabilities.float().clamp(max=1 - 2**-24)


def reliability(probabilities: Tensor, target: Tensor, bins: int = BINS) -> list[ReliabilityBin]:
    """The reliability diagram: samples in bins of equal width by the probability of the predicted class.

    Args:
        probabilities: (N, C), rows sum to 1.
        target: class numbers, int64 (N,).
        bins: how many, over [0, 1].

    Returns:
        The bins in ascending order.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599.

    Example:
        >>> reliability(torch.tensor([[0.75, 0.25]]), torch.tensor([0]), bins=2)[1]
        ReliabilityBin(low=0.5, high=1.0, count=1, confidence=0.75, accuracy=1.0)
    """
    confidence, prediction = below_one(probabilities).max(1)
    bin_index = (confidence * bins).long().clamp(max=bins - 1)
    correct = (prediction == target).double()
    count = bin_index.bincount(minlength=bins)
    means = [
        [
            float(total / n) if n else None
            for total, n in zip(bin_index.bincount(values, minlength=bins), count, strict=True)
        ]
        for values in (confidence.double(), correct)
    ]
    edges = [i / bins for i in range(bins + 1)]
    return list(map(ReliabilityBin, edges, edges[1:], count.tolist(), *means))


def scores(logits: Tensor, target: Tensor, with_matthews: bool = False) -> ClassificationScores:
    """Scores of one model; see docs/evaluate.md for each formula.

    Args:
        logits: (N, C), in the type in which the model gave them, so that ties stay ties.
        target: class numbers, int64 (N,).
        with_matthews: also Matthews' correlation coefficient.
    """
    classes = logits.shape[1]
    settings: dict[str, Any] = {"num_classes": classes, "validate_args": False}
    probabilities = logits.float().softmax(1)
    confusion = multiclass_confusion_matrix(logits, target, **settings)
    support = confusion.sum(1).tolist()
    per_class = multiclass_accuracy(logits, target, average=None, **settings).tolist()
    top5 = multiclass_accuracy(logits, target, average="micro", top_k=5, **settings) if classes > 5 else None
    return ClassificationScores(
        acc=float(multiclass_accuracy(logits, target, average="micro", **settings)),
        top5=None if top5 is None else float(top5),
        macro_f1=float(multiclass_f1_score(logits, target, average="macro", **settings)),
        nll=float(F.cross_entropy(logits.float(), target)),
        brier=float(brier(probabilities, target)),
        ece=float(multiclass_calibration_error(below_one(probabilities), target, n_bins=BINS, **settings)),
        per_class=[value if n else None for value, n in zip(per_class, support, strict=True)],
        confusion=confusion.tolist(),
        reliability=reliability(probabilities, target),
        matthews=float(multiclass_matthews_corrcoef(logits, target, **settings)) if with_matthews else None,
    )


def losses(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of every sample in nats, float32 (N,)."""
    return F.cross_entropy(logits.float(), target, reduction="none")


def confident(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Every sample's predicted class, int64 (N,), and its probability, float32 (N,)."""
    prediction = logits.argmax(1)
    return prediction, torch.gather(logits.float().softmax(1), 1, prediction[:, None])[:, 0]
