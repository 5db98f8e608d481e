"""The configuration of a model of transformers, with the user's own settings in it."""

import re
from collections.abc import Mapping
from typing import Any

from distill.utils.errors import UserError, nearest
from distill.utils.hub import fetch, gguf_file, reason

_NOT_SETTINGS = {"architectures", "model_type", "id2label", "label2id", "num_labels", "transformers_version", "dtype",
                 "return_dict", "output_hidden_states", "output_attentions", "auto_map", "is_encoder_decoder",
                 "quantization_config", "chunk_size_feed_forward", "problem_type", "is_decoder", "add_cross_attention",
                 "gradient_checkpointing"}  # fmt: skip


def read_config(name: str, settings: Mapping[str, Any]) -> Any:
    """A model's configuration with the user's own settings in it.

    Args:
        name: as :func:`locate` returns it.
        settings: attributes of the configuration.

    Raises:
        UserError: an unknown architecture, one whose code lies in its own repository, settings that it does not have
            or that have no such values; see also :func:`fetch`.
    """
    from transformers import CONFIG_MAPPING, AutoConfig, __version__

    folder, file = gguf_file(name)
    options = {"gguf_file": file} if file else {}
    try:
        config = fetch(
            name,
            lambda local: AutoConfig.from_pretrained(
                folder, local_files_only=local, trust_remote_code=False, **options
            ),
        )
    except (ValueError, KeyError, TypeError, OSError) as error:
        text = str(error)
        if "trust_remote_code" in text:
            raise UserError(
                f"{name} brings its own code (auto_map in config.json), which is never run: only architectures that "
                f"transformers {__version__} has itself can be used"
            ) from error
        unknown = re.search(r"model type `([^`]*)`", text)
        if unknown:
            raise UserError(
                f"{name}: transformers {__version__} has no architecture {unknown[1]!r}; "
                f"{nearest(unknown[1], CONFIG_MAPPING)}"
            ) from error
        raise UserError(f"{name}: config.json cannot be read ({reason(error)})") from error
    apply_settings(config, settings, name)
    return config


def apply_settings(config: Any, settings: Mapping[str, Any], name: str) -> None:
    """Sets attributes of a configuration.

    Raises:
        UserError: one that it does not have, or no value of it.
    """
    known = {k for k in (*config.to_dict(), *config.attribute_map) if not k.startswith("_")} - _NOT_SETTINGS
    for key, value in settings.items():
        if key not in known:
            raise UserError(f"{name} ({config.model_type}) takes no argument {key!r}; {nearest(key, sorted(known))}")
        try:
            setattr(config, key, value)
        except Exception as error:  # of the strict dataclasses of huggingface_hub
            raise UserError(f"{name} ({config.model_type}) takes no {key}={value!r}: it is of another type") from error
