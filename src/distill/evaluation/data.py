"""Another dataset with the classes of a run, to evaluate its student on."""

from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import OmegaConf
from torch import Tensor

from distill.config import CONF
from distill.config.compose import ERRORS, compose
from distill.config.instantiate import instantiate
from distill.config.paths import quoted
from distill.data import ImageDataModule, Splits, as_image_set, as_splits
from distill.data.splits import check_labels, renumber
from distill.evaluation.runs import Run
from distill.utils.errors import UserError, first_line, unknown_option


def _node(name: str, root: str | None, config_dir: str | None) -> dict[str, Any]:
    """The configuration of an option of the group data."""
    if config_dir is not None and not Path(config_dir).is_dir():
        raise UserError(f"config_dir: there is no folder {config_dir}")
    folders = [CONF, *([Path(config_dir)] if config_dir else [])]
    known = sorted({path.stem for folder in folders for path in (folder / "data").glob("*.yaml")})
    if name not in known:
        raise UserError(unknown_option("data", name, known))
    overrides = [f"data={name}"]
    if root is not None:
        overrides.append(f"data.root={quoted(root)}")
    try:
        cfg = compose(overrides, [config_dir] if config_dir else [])
        node = OmegaConf.to_container(cfg.data, resolve=True, enum_to_str=True)
    except ERRORS as error:
        raise UserError(f"data={name}: {first_line(error)}") from error
    assert isinstance(node, dict)
    return {str(key): value for key, value in node.items()}


def _order(classes: list[str], run: Run, name: str) -> Tensor:
    """For each class of the other data, its number in the run: int64 (C,)."""
    if sorted(classes) != sorted(run.classes):
        only = [sorted(set(a) - set(b)) for a, b in ((classes, run.classes), (run.classes, classes))]
        shown = [", ".join(names[:5]) + (", ..." if len(names) > 5 else "") or "none" for names in only]
        raise UserError(
            f"the classes of data={name} ({len(classes)}) are not those of the run ({len(run.classes)}): "
            f"only there: {shown[0]}; only in the run: {shown[1]}"
        )
    return renumber(torch.arange(len(classes)), classes, run.classes, str)


def _as_all_splits(source: Splits, split: str, name: str) -> Splits:
    """One split as all three; data without splits are one split.

    Raises:
        UserError: the data have splits, but not this one.
    """
    splits = {"train": source.train, "val": source.val, "test": source.test}
    names = [key for key, images in splits.items() if images is not None]
    images = splits["train"] if names == ["train"] else splits[split]
    if images is None:
        raise UserError(f"data={name} has no split {split}; it has: {', '.join(names)}")
    return Splits(images, images, images, source.classes)


def other_data(
    run: Run, name: str, root: str | None, split: str, config_dir: str | None, on_broken: str | None = None
) -> tuple[ImageDataModule, Tensor]:
    """Another dataset with the image size, channels and normalisation of a run.

    Args:
        run: the run.
        name: an option of the group data.
        root: its folder; None: the option's.
        split: "train", "val" or "test"; of data without splits all images are taken.
        config_dir: the user's own folder of configurations.
        on_broken: "error" or "skip" on an unreadable image; None: the option's.

    Returns:
        The data, and for each of their classes its number in the run, int64 (C,).

    Raises:
        UserError: no such option or split, data that cannot be read, other classes, another shape.
    """
    if not run.task.has_classes:
        raise UserError(
            f"data={name}: another dataset is for runs of task=classification, and this one is of {run.task.name}"
        )
    node, preprocess, settings = _node(name, root, config_dir), run.image_preprocess, run.settings.data
    node["on_broken"] = on_broken or node["on_broken"]
    if "channels" in node["source"]:
        node["source"]["channels"] = preprocess.channels
    size = settings.image_size
    try:
        source = as_splits(instantiate(node["source"], "data.source"), as_image_set)
        order = _order(check_labels(source), run, name)
        data = ImageDataModule.from_options(
            partial(_as_all_splits, source, split, name),
            batch_size=settings.batch_size,
            eval_batch_size=settings.eval_batch_size,
            image_size=size if size is not None or preprocess.height != preprocess.width else preprocess.height,
            in_memory=False,
            augment=cast("dict[str, Any] | None", settings.augment),
            mean=list(preprocess.mean),
            std=list(preprocess.std),
            num_workers=settings.num_workers,
            on_broken=node["on_broken"],
        )
        data.setup()
    except (UserError, TypeError, ValueError) as error:
        reason = str(error)
        if "data.mean has" in reason:
            reason = f"its images do not have the run's {preprocess.channels} channel(s)"
        prefix = "" if reason.startswith(("data=", "the classes of")) else f"data={name}: "
        raise UserError(prefix + reason) from error
    shape, expected = (
        f"{c}×{s}×{s}" for c, s in ((data.in_channels, data.image_size), (preprocess.channels, preprocess.height))
    )
    if shape != expected:
        raise UserError(f"data={name}: its images are {shape}, and the student takes {expected}")
    return data, order
