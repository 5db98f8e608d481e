"""A model of transformers with its weights: safetensors only, its head kept where it answers the same question."""

import inspect
import re
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from distill.models.text import structure
from distill.models.text.encoder import Output
from distill.utils.errors import UserError
from distill.utils.hub import fetch, gguf_file, quiet, reason

_UNNAMED = re.compile(r"(LABEL_)?\d+")
_HEADS = {"SequenceClassification": "text", "TokenClassification": "tokens", "QuestionAnswering": None,
          "MultipleChoice": None, "NextSentencePrediction": None}  # fmt: skip
_PER = {"text": "one answer per text", "tokens": "one answer per word", "embedding": "an embedding per text",
        "causal": "the next token"}  # fmt: skip


def model_class(config: Any, output: Output, name: str) -> Any:
    """The class of transformers that gives an output for an architecture.

    Raises:
        UserError: transformers has none, it takes no texts, or it is no encoder.
    """
    import transformers

    mappings = {
        "text": transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
        "tokens": transformers.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
        "embedding": transformers.MODEL_MAPPING,
        "causal": transformers.MODEL_FOR_CAUSAL_LM_MAPPING,
    }
    architecture = f"{name} is of the architecture '{config.model_type}'"
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(f"{architecture}, an encoder with a decoder: model=hf takes encoders alone, such as BERT")
    if type(config) not in mappings[output]:
        raise UserError(f"{architecture}, for which transformers has no class that gives {_PER[output]}")
    found = mappings[output][type(config)]
    cls = found[0] if isinstance(found, tuple) else found
    takes = _parameters(cls.forward)
    if not {"input_ids", "attention_mask"} <= takes:
        raise UserError(f"{architecture}, whose {cls.__name__} takes no texts (input_ids and attention_mask)")
    if output == "text" and _is_decoder(cls) and config.pad_token_id is None:
        raise UserError(
            f"{architecture}, a decoder, and has no padding token (pad_token_id in config.json), without which it "
            "cannot tell where a text ends: add it (+teacher.pad_token_id=<number>, +model.pad_token_id=<number>), or "
            "take an encoder"
        )
    return cls


def _is_decoder(cls: Any) -> bool:
    return "past_key_values" in _parameters(cls.forward) or "cache" in _parameters(cls.forward)


def _parameters(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters)


def build(cls: Any, config: Any, name: str) -> Any:
    """A model of a configuration with random weights, in float32 with fused attention where it has that.

    Raises:
        UserError: values in the configuration that do not fit one another.
    """
    with quiet():
        try:
            return cls._from_config(config, **_options(cls))
        except Exception as error:
            raise UserError(f"{name}: cannot build {cls.__name__} from its configuration ({reason(error)})") from error


def _options(cls: Any) -> dict[str, Any]:
    """With what every model is made; a config.json has no say in it, which may name an attention kernel of the hub."""
    options: dict[str, Any] = {"dtype": torch.float32}
    options["attn_implementation"] = "sdpa" if getattr(cls, "_supports_sdpa", False) else "eager"
    if "add_pooling_layer" in _parameters(cls.__init__):
        options["add_pooling_layer"] = False  # of the bare encoder: nothing would read it
    return options


def load(
    cls: Any, config: Any, name: str, output: Output, num_classes: int, class_names: Sequence[str] | None
) -> tuple[Any, str]:
    """A model with the weights of a folder or of the hub, and what became of their head.

    Its last layer is kept where it has ``num_classes`` outputs and, with names on both sides, the same ones; its rows
    are then put in the order of ``class_names``. Otherwise it is new.

    Args:
        cls: of :func:`model_class`.
        config: gets the labels.
        name: as ``locate`` returns it.
        output: of the model.
        num_classes: C; of no matter for embeddings.
        class_names: their names in order.

    Raises:
        UserError: no safetensors, weights of another architecture, of another task, or not whole.
    """
    with torch.device("meta"):
        build(cls, deepcopy(config), name)  # what the user set wrongly is no fault of the weights
    saved = str((config.architectures or [""])[0])
    left_out = _left_out(saved, cls, output, name)
    order = None
    if output != "embedding":
        old = config.id2label
        order = _order(old, num_classes, class_names) if saved == cls.__name__ else None
        if len(old) != num_classes:
            config.num_labels = num_classes
    model, missing = _load(cls, config, name, num_classes)
    if output == "embedding":
        return model, left_out
    head = structure.classifier(model, num_classes)
    label = f"{num_classes} output{'s' * (num_classes != 1)}"
    if head is not None and f"{head}.weight" in missing:
        order = None
    if order is None:
        _renew(model, head, config)
        had = f" (its own has {_named(old)})" if saved == cls.__name__ else ""
        return model, f"{label}, a new head{had}"
    _reorder(model, head, order, name)
    return model, f"{label}, the head of its weights{' in the order of the data' if order != sorted(order) else ''}"


def load_causal(cls: Any, config: Any, name: str) -> Any:
    """A causal model with the weights of a folder, of a GGUF file (dequantised to float32) or of the hub.

    Raises:
        UserError: see :func:`load`; weights that lack tensors of the model.
    """
    with torch.device("meta"):
        build(cls, deepcopy(config), name)
    model, missing = _load(cls, config, name, None)
    if missing:
        raise UserError(f"{name}: its weights lack {len(missing)} tensors of {cls.__name__} ({min(missing)}, …)")
    return model


def set_labels(config: Any, num_classes: int, class_names: Sequence[str] | None) -> None:
    """Writes the classes' names, or their number, into a configuration."""
    if class_names is None:
        config.num_labels = num_classes
        return
    config.id2label = {i: str(label) for i, label in enumerate(class_names)}
    config.label2id = {str(label): i for i, label in enumerate(class_names)}


def _left_out(saved: str, cls: Any, output: Output, name: str) -> str:
    """What to say of a head that an embedding does not need; a UserError where it is one of another task."""
    kind = next((head for head in _HEADS if saved.endswith(f"For{head}")), None)
    if kind is None or saved == cls.__name__:
        return ""
    if output == "embedding":
        return f"the head of its {saved} is left out"
    if _HEADS[kind] != output:
        raise UserError(
            f"{name} is a {saved}, whose head is of another task than {_PER[output]}: take a model without a head, "
            f"or with one for this task ({cls.__name__})"
        )
    return ""


def _order(old: dict[int, str], num_classes: int, class_names: Sequence[str] | None) -> list[int] | None:
    """For each class the row of the weights' head; None: another number of classes, or other names."""
    if len(old) != num_classes:
        return None
    theirs, ours = [str(old[i]) for i in range(num_classes)], [str(name) for name in class_names or ()]
    if not ours or any(all(_UNNAMED.fullmatch(label) for label in labels) for labels in (theirs, ours)):
        return list(range(num_classes))
    for fold in (str, str.casefold):
        row = {fold(label): i for i, label in enumerate(theirs)}
        if len(row) == num_classes and sorted(map(fold, ours)) == sorted(row):
            return [row[fold(label)] for label in ours]
    return None


def _named(labels: dict[int, str]) -> str:
    names = [str(label) for label in labels.values()]
    return f"{len(names)}: {', '.join(names[:4])}{', …' * (len(names) > 4)}"


def _renew(model: Any, head: str | None, config: Any) -> None:
    """Draws a classifier anew, as the architecture does."""
    if head is None:
        return
    layer = model.get_submodule(head)
    nn.init.normal_(layer.weight, std=getattr(config, "initializer_range", 0.02))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _reorder(model: Any, head: str | None, order: list[int], name: str) -> None:
    if order == sorted(order):
        return
    if head is None:
        raise UserError(f"{name}: its classes are in another order than the data's, and its last layer is not known")
    layer = model.get_submodule(head)
    with torch.no_grad():
        layer.weight.copy_(layer.weight[order])
        if layer.bias is not None:
            layer.bias.copy_(layer.bias[order])


def _load(cls: Any, config: Any, name: str, num_classes: int | None) -> tuple[Any, set[str]]:
    """The model, and the names of the tensors that the weights do not have."""
    options = _options(cls)
    folder, file = gguf_file(name)
    options |= {"gguf_file": file} if file else {"use_safetensors": True}

    def from_pretrained(local: bool) -> Any:
        return cls.from_pretrained(
            folder, config=config, local_files_only=local, trust_remote_code=False,
            ignore_mismatched_sizes=True, output_loading_info=True, **options,
        )  # fmt: skip

    try:
        model, found = fetch(name, from_pretrained)
    except UserError:
        raise
    except Exception as error:  # whatever transformers, safetensors and the hub's client raise
        raise _unloadable(name, error) from error
    head = None if num_classes is None else structure.classifier(model, num_classes)
    other = [(key, *shapes) for key, *shapes in found["mismatched_keys"] if not head or not key.startswith(f"{head}.")]
    if other:
        key, theirs, ours = other[0]
        raise UserError(
            f"{name}: its weights do not fit its configuration: {key} is {tuple(theirs)} in the file and {tuple(ours)} "
            f"in the model ({len(other)} such); what changes shapes needs pretrained=false"
        )
    missing = set(found["missing_keys"]) | {key for key, *_ in found["mismatched_keys"]}
    _check_whole(model, missing, name)
    return model, missing


def _check_whole(model: Any, missing: set[str], name: str) -> None:
    """A UserError where the weights lack parts of the encoder; a pooler or a head may be new."""
    inside = "" if model.base_model is model else f"{model.base_model_prefix}."
    lacking = sorted(key for key in missing if key.startswith(inside) and "pooler" not in key)
    if lacking:
        raise UserError(
            f"{name}: its weights lack {len(lacking)} tensors of {type(model).__name__} ({', '.join(lacking[:2])}, …): "
            "they are not whole, or of another architecture than config.json says"
        )


def _unloadable(name: str, error: Exception) -> UserError:
    folder = Path(name)
    files = sorted(p.name for p in folder.glob("*")) if folder.is_dir() else []
    pickled = [file for file in files if file.endswith((".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack"))]
    if files and not any(file.endswith((".safetensors", ".safetensors.index.json")) for file in files):
        if pickled:
            return UserError(
                f"{name} has its weights as {pickled[0]}, which could run code: only model.safetensors is read "
                "(convert it once, with save_pretrained of transformers)"
            )
        return UserError(f"{name} has no model.safetensors; its files: {', '.join(files[:8])}")
    if "safetensors" in str(error) and not files:
        return UserError(f"{name} has no weights as safetensors on the Hub, and pickled ones, which could run code, "
                         "are not read")  # fmt: skip
    return UserError(f"{name}: its weights cannot be read ({reason(error)})")
