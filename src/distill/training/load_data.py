"""The data of a configuration, loaded once for the jobs of a sweep in one process."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from distill.config.instantiate import instantiate
from distill.config.schema import DataConfig
from distill.data import DataModule, ImageDataModule, Targets
from distill.training import defaults
from distill.utils.errors import UserError

_loaded: dict[str, DataModule[Any]] = {}  # cached for the next job of a sweep in this process


def data_module(kind: str, targets: Targets = "classes") -> Any:
    """The class of DataModule for a kind of data, "images" or "text", and what is to be predicted of them."""
    if kind == "text":
        from distill.data.text.datamodule import TextDataModule
        from distill.data.text.language import LanguageDataModule

        return LanguageDataModule if targets == "next_token" else TextDataModule
    return ImageDataModule


def load_data(
    config: DataConfig,
    seed: int,
    largest: Callable[[int], int] | None = None,
    targets: Targets = "classes",
    tokenizer_keys: tuple[str, str] | None = None,
) -> DataModule[Any]:
    """The data, loaded, checked and split; cached between the jobs of a sweep.

    Args:
        config: ``data`` of the configuration.
        seed: of the order of the samples and of their augmentation.
        largest: see ``ImageOptions``.
        targets: what the task needs of them; a source that takes ``targets`` is told.
        tokenizer_keys: see ``TextOptions.keys``.

    Raises:
        UserError: data that do not exist or cannot be read, values that do not fit them.
    """
    needed = {"tokens": "one class per word of a text", "next_token": "texts"}.get(targets)
    if needed and config.kind != "text":
        raise UserError(f"the task needs {needed}, and data={config.name} has images: set data=text")
    module = data_module(config.kind, targets)
    node = {key: value for key, value in vars(config).items() if key in module.option_names()}
    for name in ("image", "text", "text_pair", "label"):
        column = getattr(config, name)
        if column is not None and column not in config.source.values():
            raise UserError(f"data.{name}={column}: the source of data={config.name} has no columns")
    facts = [config.kind, config.source, config.transform, sorted(node.items()), largest, targets]
    key = json.dumps(facts, default=str)
    if key not in _loaded:
        _loaded.clear()
        node["source"] = partial(instantiate, config.source, "data.source", targets=targets)
        if module is ImageDataModule:
            node["transform"] = instantiate(config.transform, "data.transform") if config.transform else None
            node["largest"] = largest
        elif tokenizer_keys is not None:
            node["keys"] = tokenizer_keys
        try:
            data = module.from_options(**node, batch_size=config.batch_size or 1, seed=seed, targets=targets)
            data.prepare_data()
            data.setup()
        except (TypeError, ValueError) as error:
            raise UserError(f"data: {error}") from error
        _loaded[key] = data
    data = _loaded[key]
    return data.with_options(
        seed=seed, batch_size=config.batch_size or defaults.batch_size(data.num_train, config.kind, targets)
    )
