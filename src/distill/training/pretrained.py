"""What a pretrained model brings along: a backbone from a file, and how it prepares its inputs."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from distill.config.instantiate import takes
from distill.config.nodes import MODEL_KEYS, SEEING_KEYS, is_teacher
from distill.config.schema import Node, TrainConfig
from distill.config.weights_files import PREPROCESS, check_checkpoint, check_preprocess
from distill.distillation.model_info import NamedModel
from distill.models.hub.preprocess import NOTE, OwnPreprocess, published
from distill.utils.backbone import load_backbone, read_notes
from distill.utils.checkpoints import CHECKSUM, read_tensors
from distill.utils.errors import UserError, first_line
from distill.utils.hub import commit
from distill.utils.shards import is_index, weight_map

log = logging.getLogger(__name__)


def own_keys(node: Node, key: str) -> tuple[str, ...]:
    """The keys of a model's node that are not its class's, unless that has arguments of the name.

    Args:
        node: the model's configuration.
        key: the node's dotted key: ``SEEING_KEYS`` are those of teachers.
    """
    names = (*MODEL_KEYS, *(SEEING_KEYS if is_teacher(key) else ()))
    return tuple(name for name in names if name in node and (node[name] in (None, "auto") or not takes(node, name)))


def _backbone(node: Node, key: str) -> str | None:
    """The file of a model's backbone, where its class has no argument of that name."""
    return node["backbone"] if "backbone" in own_keys(node, key) else None


def preprocess(node: Node, key: str) -> OwnPreprocess | None:
    """How a model prepares its inputs itself, as :func:`settle` or a run's record says; None: as the data are.

    Raises:
        UserError: a record that was edited.
    """
    return _parsed(node["preprocess"], f"{key}.preprocess") if "preprocess" in own_keys(node, key) else None


def _parsed(value: Any, key: str) -> OwnPreprocess | None:
    check_preprocess(value, key)
    if not isinstance(value, dict):
        return None
    if len(value) < len(PREPROCESS) or len(value["mean"]) != len(value["std"]):
        raise UserError(f"{key} must have {', '.join(PREPROCESS)}, got {value!r}")
    return OwnPreprocess(**value)


def settle(config: DictConfig, cfg: TrainConfig, data: Any) -> DictConfig:
    """The configuration with what each teacher's ``preprocess`` means, which a run's summary keeps.

    auto is what timm or torchvision publish for a model whose weights are pretrained or come from a file
    (``backbone``, ``checkpoint``); of a file that distill wrote, what it was trained with.

    Args:
        config: composed.
        cfg: the same, typed.
        data: whose normalisation the models are given.

    Raises:
        UserError: means and deviations that do not fit one another or the data's channels.
    """
    others = cfg.kd.teachers if isinstance(cfg.kd.teachers, list) else []
    config = config.copy()
    for key, node in (("teacher", cfg.teacher), *((f"kd.teachers.{i}", other) for i, other in enumerate(others))):
        if "preprocess" in node and "preprocess" not in own_keys(node, key):
            continue
        found = _resolved(node, key, data)
        if key == "teacher" or found is not None:
            OmegaConf.update(config, f"{key}.preprocess", found.as_dict() if found else False, force_add=True)
    return config


def _resolved(node: Node, key: str, data: Any) -> OwnPreprocess | None:
    given, shown = node.get("preprocess", "auto"), getattr(data, "preprocess", None)
    check_preprocess(given, f"{key}.preprocess")
    if data.kind != "images":
        if isinstance(given, dict):
            raise UserError(f"{key}.preprocess is for images, and the data are {data.kind}: leave it out")
        return None
    file = _backbone(node, key) or node.get("checkpoint")
    if not given or shown is None or (given == "auto" and not (file or node.get("pretrained"))):
        return None
    own = published(node)
    if given == "auto":
        is_ours, recorded = _recorded(Path(file)) if file else (False, None)
        own = recorded if is_ours else own
        return own if own is not None and shown.channels in (1, len(own.mean)) else None
    usual = {"mean": list(shown.mean), "std": list(shown.std), "size": data.image_size, "interpolation": "bilinear"}
    own = OwnPreprocess(**{**usual, **(own.as_dict() if own else {}), **given})
    if len(own.mean) != len(own.std) or shown.channels not in (1, len(own.mean)):
        raise UserError(
            f"{key}.preprocess has {len(own.mean)} means and {len(own.std)} deviations, and the data "
            f"{shown.channels} channel{'s' * (shown.channels > 1)}: one each per channel, or three for grey images"
        )
    return own


def _recorded(path: Path) -> tuple[bool, OwnPreprocess | None]:
    """Whether distill wrote a file of weights, and the preprocessing of its model."""
    if path.suffix != ".safetensors":
        return any(name.startswith("student.") for name in read_tensors(path)), None
    notes = read_notes(path)
    if CHECKSUM not in notes:
        return False, None
    try:
        return True, _parsed(json.loads(notes.get(NOTE, "null")), f"{path}: {NOTE}")
    except (ValueError, RecursionError) as error:
        raise UserError(f"checkpoint {path} is damaged: {first_line(error)}") from error


def load(net: NamedModel, node: Node, key: str) -> None:
    """Gives a model the backbone that its node names, and says in one line what was loaded.

    Args:
        net: the model, changed in place.
        node: its configuration.
        key: the node's dotted key.

    Raises:
        UserError: the file cannot be read, or does not fit the model.
    """
    own, file = preprocess(node, key), _backbone(node, key)
    if own is not None:
        log.info(
            f"{net.model_info.name.removeprefix('the ')} sees views at {own}, normalised with its own mean and std"
        )
    if file is None:
        return
    check_checkpoint(file, f"{key}.backbone")
    encoder = getattr(net.model, "backbone", None) if len(net.model_info.logits) == 4 else None
    if isinstance(encoder, nn.Module):  # the rest of a segmenter is its decoder, which no classifier's file has
        log.info(load_backbone(encoder, Path(file), f"the backbone of {net.model_info.name}", ()))
        return
    log.info(load_backbone(net.model, Path(file), net.model_info.name, _classifiers(net)))


def _classifiers(net: NamedModel) -> tuple[str, ...]:
    """Module paths of a model's last layers: the one that gives the logits, and those that timm names."""
    named = (getattr(net.model, "pretrained_cfg", None) or {}).get("classifier") or ()
    paths = [net.model_info.head, *((named,) if isinstance(named, str) else named)]
    modules = dict(net.model.named_modules())
    return tuple(dict.fromkeys(path for path in paths if path and path in modules))


def fingerprint_inputs(node: Node, key: str) -> dict[str, Any]:
    """What of these keys shapes a teacher: its preprocessing, and the content of its file, wherever it lies."""
    own, file = preprocess(node, key), _backbone(node, key)
    seen: dict[str, Any] = {"preprocess": own.as_dict()} if own else {}
    folder = Path(str(node.get("name"))).expanduser()
    if str(node["_target_"]).startswith("distill.models.") and takes(node, "tokenizer"):
        if folder.is_dir():
            weights = sorted(each for each in folder.iterdir() if each.suffix in (".safetensors", ".json"))
            seen["folder"] = {each.name: _digest(each) for each in weights}
        elif node.get("name") is not None:
            seen["commit"] = commit(str(node["name"]))
    if file is None:
        return seen
    shards = sorted(set(weight_map(Path(file)).values())) if is_index(Path(file)) else []
    return seen | {"backbone": "".join(_digest(path) for path in (Path(file), *shards))}


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
