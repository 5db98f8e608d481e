"""Parts of torchdistill's configuration that it needs on images and on texts, as its YAML files write them."""

from typing import Any


def criterion(module: str, temperature: float, alpha: float) -> dict[str, Any]:
    """``KDLoss`` of the outputs of a module of both models, called alike."""
    read = {f"{side}_module_{key}": value for side in ("student", "teacher")
            for key, value in (("path", module), ("io", "output"))}  # fmt: skip
    loss = {"key": "KDLoss", "kwargs": {**read, "temperature": temperature, "alpha": alpha, "reduction": "batchmean"}}
    return {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"kd": {"criterion": loss, "weight": 1.0}}}}


def models(forward: str, hooked: str | None = None) -> dict[str, Any]:
    """Student and frozen teacher.

    Args:
        forward: the name of the function that calls a model with a batch.
        hooked: a module whose output is kept; None: the model's own is enough.
    """
    model: dict[str, Any] = {"forward_proc": forward, "sequential": [], "wrapper": None, "frozen_modules": []}
    if hooked is not None:
        model["forward_hook"] = {"input": [], "output": [hooked]}
    return {"teacher": {**model, "requires_grad": False}, "student": {**model, "requires_grad": True}}


def loader(split: str, sampler: Any, collate: str | None = None, **kwargs: Any) -> dict[str, Any]:
    """A data loader, with its keyword arguments."""
    made = {"dataset_id": split, "sampler": {"class_or_func": sampler, "kwargs": {}}, "kwargs": kwargs}
    return made if collate is None else {**made, "collate_fn": collate, "requires_supp": False}
