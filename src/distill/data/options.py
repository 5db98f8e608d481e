"""The options of a DataModule that any kind of data has."""

from dataclasses import dataclass

from distill.data.targets import Targets
from distill.utils.errors import UserError


@dataclass(frozen=True)
class DataOptions:
    """The options of a DataModule that any kind of data has.

    Args:
        batch_size: samples per optimizer step, over all processes together.
        seed: of the order and the augmentation.
        val_fraction: share of the training samples that becomes validation, 0 < f < 1; unused if the source has it.
        test_fraction: share of the samples that becomes test, 0 < f < 1; unused if the source has it.
        split_seed: of the splits and of ``subset``.
        num_workers: processes that decode; None: 0 in memory, else the usable cores minus one, at least 1.
        subset: train on so many samples, chosen at random with each class in its proportion; None: on all.
        num_classes: checked against the data's; None: not checked.
        eval_batch_size: None: ``batch_size``.
        cycle: the augmentation repeats after so many epochs (the order does not); None: never.
        targets: what is to be predicted, see ``check_targets``; splits go by the class only where these are classes.
        for_training: else the data are there to be measured on, and may lack some of the classes.

    Raises:
        UserError: for a value out of range.
    """

    batch_size: int
    seed: int = 0
    val_fraction: float = 0.1
    test_fraction: float = 0.2
    split_seed: int = 0
    num_workers: int | None = None
    subset: int | None = None
    num_classes: int | None = None
    eval_batch_size: int | None = None
    cycle: int | None = None
    targets: Targets = "classes"
    for_training: bool = True

    def __post_init__(self) -> None:
        minimums = {"batch_size": 1, "eval_batch_size": 1, "subset": 2, "num_workers": 0, "num_classes": 1, "cycle": 1}
        minimums["num_classes"] += self.targets == "classes"
        for name, minimum in minimums.items():
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < minimum):
                raise UserError(f"data.{name} must be a whole number, {minimum} or more, got {value!r}")
        for name in ("val_fraction", "test_fraction"):
            if not 0 < getattr(self, name) < 1:
                raise UserError(f"data.{name} must lie between 0 and 1, both excluded, got {getattr(self, name)}")
