"""Another dataset than a run's own, to evaluate its student on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf

from distill.config import CONF
from distill.config.compose import ERRORS, compose
from distill.config.instantiate import instantiate
from distill.config.key_sets import COLUMNS
from distill.config.paths import quoted
from distill.data import DataModule, ImageDataModule, Preprocess, Splits, TextDataModule, as_splits
from distill.data.sources.text_files.lines import outside_training
from distill.data.targets import check_targets
from distill.data.text.preprocess import TextPreprocess
from distill.evaluation.match_outputs import match_outputs
from distill.evaluation.runs import Run
from distill.training.load_data import data_module
from distill.utils.errors import UserError, first_line, unknown_option

_ROOTS = {
    "texts": "file or folder",
    "csv": "file or folder",
    "image_folder": "folder",
    "parquet": "folder",
    "masks": "folder",
}


@dataclass(frozen=True)
class OtherData:
    """What is evaluated instead of a run's own data.

    Attributes:
        name: an option of the group data.
        root: its folder or file; None: the option's.
        split: "train", "val" or "test"; data without splits are taken whole.
        config_dir: the user's own folder of configurations.
        on_broken: "error" or "skip" on a sample that cannot be read; None: the option's.
        encoding: of its files of text; None: as in training.
        columns: of "image", "text", "text_pair" and "label" those that the user names; others are the run's.
    """

    name: str
    root: str | None
    split: str
    config_dir: str | None = None
    on_broken: str | None = None
    encoding: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"data={self.name}"


def _node(asked: OtherData, run: Run) -> dict[str, Any]:
    """The configuration of an option of the group data, with the columns of the user and of the run."""
    name, config_dir = asked.name, asked.config_dir
    if config_dir is not None and not Path(config_dir).is_dir():
        raise UserError(f"config_dir: there is no folder {config_dir}")
    folders = [CONF, *([Path(config_dir)] if config_dir else [])]
    known = sorted({path.stem for folder in folders for path in (folder / "data").glob("*.yaml")})
    if name not in known:
        raise UserError(unknown_option("data", name, known))
    overrides = [f"data={name}"]
    if asked.root is not None:
        overrides.append(f"data.root={quoted(asked.root)}")
    try:
        cfg = compose(overrides, [config_dir] if config_dir else [])
        if asked.on_broken is not None:
            cfg.data.on_broken = asked.on_broken
        source = OmegaConf.to_container(cfg.data.source, resolve=False)
        assert isinstance(source, dict)
        if "channels" in source and isinstance(run.preprocess, Preprocess):
            cfg.data.source.channels = run.preprocess.channels
        if "encoding" in source:
            cfg.data.source.encoding = asked.encoding or run.settings.data.source.get("encoding", "utf-8")
            cfg.data.source["columns"] = run.settings.data.source.get("columns")
        elif asked.encoding is not None:
            raise UserError(f"encoding={asked.encoding}: the source of data={name} has no files of text")
        if "ignore" in source and "ignore" in run.settings.data.source:  # masks: their values mean what they meant
            cfg.data.source.ignore = run.settings.data.source["ignore"]
            cfg.data.source.classes = run.settings.data.source["classes"]
        taken = [column for column in COLUMNS if _takes(source, column)]
        for column, value in asked.columns.items():
            if column not in taken:
                raise UserError(f"{column}={value}: the source of data={name} has no such column")
        for column, value in _columns(asked, run).items():
            if column in taken:
                OmegaConf.update(cfg.data, column, value)
        node = OmegaConf.to_container(cfg.data, resolve=True, enum_to_str=True)
    except ERRORS as error:
        raise UserError(f"data={name}: {first_line(error)}") from error
    assert isinstance(node, dict)
    _check_root(name, node["source"])
    return {str(key): value for key, value in node.items()}


def _check_root(name: str, source: Mapping[Any, Any]) -> None:
    """A UserError for a dataset of the user's own files whose root is not given."""
    what = _ROOTS.get(str(source.get("_target_")).rpartition(".")[2])
    if what is not None and str(source.get("root", source.get("train"))).startswith("None"):
        raise UserError(f"data={name} needs root=<{what}>")


def _takes(source: Mapping[Any, Any], column: str) -> bool:
    """Whether a source has a column to be named, as the options of the group data call it."""
    return bool({column, f"{column}_column"} & source.keys())


def _columns(asked: OtherData, run: Run) -> dict[str, Any]:
    """The columns that the user names, else those that were named in training; numbers are known by theirs."""
    settings, columns = run.settings.data, dict(asked.columns)
    if "text" not in columns and "text_pair" not in columns:
        columns |= {"text": settings.text, "text_pair": settings.text_pair}
    label = list(run.classes) if run.task.targets == "numbers" else settings.label
    return {"label": label} | columns


def _one_split(source: Splits, asked: OtherData) -> Splits:
    """One split as all three; data without splits are one split.

    Raises:
        UserError: the data have splits, but not this one.
    """
    splits = {"train": source.train, "val": source.val, "test": source.test}
    names = [key for key, samples in splits.items() if samples is not None]
    samples = splits["train"] if names == ["train"] else splits[asked.split]
    if samples is None:
        raise UserError(f"{asked} has no split {asked.split}; it has: {', '.join(names)}")
    return Splits(samples, samples, samples, source.classes)


def _matched(source: Splits, node: dict[str, Any], run: Run, asked: OtherData) -> Splits:
    """The samples with targets by the run's outputs; columns that the user lists stand for these in their order."""
    targets, label = run.task.targets, node["label"]
    source, names = check_targets(source, targets, for_training=False)
    is_renamed = "label" in asked.columns and isinstance(label, list) and len(names) == len(run.classes)
    are_names = targets == "multilabel" and _takes(node["source"], "label") and not isinstance(label, list)
    needs_all = targets in ("multilabel", "numbers") and not are_names
    if not is_renamed:
        samples = match_outputs(source.train, names, run.classes, targets, asked.name, needs_all)
        source = Splits(samples, samples, samples)
    return Splits(source.train, source.val, source.test, list(run.classes))


def other_data(run: Run, asked: OtherData) -> DataModule[Any]:
    """Another dataset as the student of a run takes it: its targets by the run's names, images or texts as the run's.

    Raises:
        UserError: no such option or split, data that cannot be read, of another kind, with other classes or columns.
    """
    node, targets = _node(asked, run), run.task.targets
    if node["kind"] != run.preprocess.kind:
        have, need = ("texts" if kind == "text" else kind for kind in (node["kind"], run.preprocess.kind))
        raise UserError(f"{asked} holds {have}, and the run is of {need}")
    as_dataset = data_module(node["kind"]).as_dataset
    try:
        made = instantiate(node["source"], "data.source", targets=targets)
        source = _one_split(as_splits(made, lambda split: as_dataset(split, targets)), asked)
        _check_pairs(source, run)
        source = _matched(source, node, run, asked)
        return _texts(run, source) if node["kind"] == "text" else _images(run, source, node["on_broken"])
    except (UserError, TypeError, ValueError) as error:
        reason = outside_training(str(error))
        for key in (*COLUMNS, "root", "on_broken"):
            reason = reason.replace(f"data.{key}", key)
        if "data.mean has" in reason:
            reason = f"its images do not have the run's {run.image_preprocess.channels} channel(s)"
        raise UserError(reason if str(asked) in reason else f"{asked}: {reason}") from error


def _check_pairs(source: Splits, run: Run) -> None:
    """A UserError for pairs of texts where the run is of single ones, and the reverse."""
    if isinstance(run.preprocess, TextPreprocess) and (source.train.pairs is not None) != run.preprocess.pairs:
        have, need = "pairs of texts", "single texts: set text=<column>"
        if run.preprocess.pairs:
            have, need = "single texts", "pairs: set text=<column> text_pair=<column>"
        raise UserError(f"it has {have}, and the run is of {need}")


def _options(run: Run) -> dict[str, Any]:
    """What data of any kind take of the run's."""
    settings = run.settings.data
    names = ("batch_size", "eval_batch_size", "num_workers")
    return {**{name: getattr(settings, name) for name in names}, "targets": run.task.targets, "for_training": False}


def _texts(run: Run, source: Splits) -> TextDataModule:
    """Texts with the tokenizers and the lengths of a run."""
    preprocess, settings = run.preprocess, run.settings.data
    assert isinstance(preprocess, TextPreprocess)
    data: TextDataModule = data_module("text", run.task.targets).from_options(
        lambda: source,
        tokenizer=preprocess.tokenizer,
        teacher_tokenizer=settings.teacher_tokenizer,
        max_length=preprocess.max_length,
        teacher_max_length=settings.teacher_max_length,
        **_options(run),
    )
    data.setup()
    return data


def _images(run: Run, source: Splits, on_broken: Any) -> ImageDataModule:
    """Images in the size, with the channels and the normalisation of a run."""
    preprocess, settings = run.image_preprocess, run.settings.data
    size = settings.image_size
    data = ImageDataModule.from_options(
        lambda: source,
        image_size=size if size is not None or preprocess.height != preprocess.width else preprocess.height,
        in_memory=False,
        augment=cast("dict[str, Any] | None", settings.augment),
        mean=list(preprocess.mean),
        std=list(preprocess.std),
        on_broken=on_broken,
        **_options(run),
    )
    data.setup()
    shape, expected = (
        f"{c}×{s}×{s}" for c, s in ((data.in_channels, data.image_size), (preprocess.channels, preprocess.height))
    )
    if shape != expected:
        raise UserError(f"its images are {shape}, and the student takes {expected}")
    return data
