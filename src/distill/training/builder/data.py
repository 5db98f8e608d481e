"""A DataModule from the configuration."""

import json
from functools import partial

from distill.config.instantiate import instantiate
from distill.config.schema import DataConfig
from distill.data import DataModule
from distill.utils.errors import UserError

_loaded: dict[str, DataModule] = {}  # the last data, for the next job of a sweep in this process


def load_data(config: DataConfig, seed: int) -> DataModule:
    """The data, loaded, checked and split; the job before of a sweep may have loaded them.

    Args:
        config: ``data`` of the configuration.
        seed: of the order of the samples and of their views.

    Raises:
        UserError: data that are not there or cannot be read, values that do not fit them.
    """
    node = {key: value for key, value in vars(config).items() if key not in ("name", "root")}
    key = json.dumps([value for name, value in sorted(node.items()) if name != "batch_size"], default=str)
    if key in _loaded:
        return _loaded[key].with_options(seed=seed, batch_size=config.batch_size)
    _loaded.clear()
    node["source"] = partial(instantiate, config.source, "data.source")
    node["transform"] = instantiate(config.transform, "data.transform") if config.transform else None
    try:
        data = DataModule.from_options(**node, seed=seed)
        data.prepare_data()
        data.setup()
    except (TypeError, ValueError) as error:
        raise UserError(f"data: {error}") from error
    _loaded[key] = data
    return data
