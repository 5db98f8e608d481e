"""Weights on disk: read without unpickling code, loaded strictly, written whole or not at all."""

import io
import logging
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Collection, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from distill.utils.atomic import atomic_path
from distill.utils.errors import UserError, first_line
from distill.utils.shards import is_index, weight_map
from distill.utils.values import check_finite, unfit

log = logging.getLogger(__name__)

CHECKSUM = "crc32"  # in the metadata of a safetensors file
_MOST_UNPACKED = 10  # times the size of the archive
WRAPPERS = ("state_dict", "model", "model_state_dict", "net", "model_ema")  # of several, the first
PREFIXES = ("module.", "_orig_mod.", "student.", "model.")


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """The model's ``state_dict``; extra state that is no tensor (``get_extra_state``) as the bytes of a torch file.

    Raises:
        UserError: extra state that is more than tensors and plain values.
    """
    return {n: v if isinstance(v, Tensor) else _packed(v, n) for n, v in model.state_dict().items()}


def _packed(value: Any, name: str) -> Tensor:
    file = io.BytesIO()
    try:
        torch.save(value, file)
        _unpacked(torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8))
    except Exception as error:  # whatever pickle raises, or a global that torch does not load
        raise UserError(
            f"the model's extra state '{name}' ({type(value).__name__}) is more than tensors and plain values, "
            "which no weights file keeps: get_extra_state must return numbers, strings, lists, dicts or tensors"
        ) from error
    return torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)


def _unpacked(content: Tensor) -> Any:
    return torch.load(io.BytesIO(content.numpy().tobytes()), weights_only=True)


def save_weights(model: nn.Module, path: Path, signed: bool = True, notes: Mapping[str, str] | None = None) -> None:
    """Writes :func:`weights_of` a model as safetensors, atomically, ``signed``: with their checksum.

    Shared tensors are written once per name. ``notes`` are kept in the file's metadata, beside the checksum.
    """
    weights = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights_of(model).items()}
    with atomic_path(path) as temporary:  # safetensors' save_file would make it readable to its owner alone
        temporary.write_bytes(
            safetensors.torch.save(weights, {**(notes or {}), CHECKSUM: checksum(weights)} if signed else None)
        )


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """Of the names and bytes of tensors on the CPU."""
    crc = 0
    for name in sorted(tensors):
        content = tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().data
        crc = zlib.crc32(content, zlib.crc32(name.encode(), crc))
    return str(crc)


def read_safetensors(path: Path, required: bool = False) -> dict[str, Tensor]:
    """The tensors of a file, compared with the checksum in it.

    Args:
        path: of the file.
        required: whether one without a checksum is refused, too.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is not what was written, or no safetensors file.
    """
    try:
        with safe_open(path, "pt") as file:
            expected = (file.metadata() or {}).get(CHECKSUM)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError) as error:
        raise ValueError(f"no readable safetensors file: {error}") from error
    if (required or expected is not None) and checksum(tensors) != expected:
        raise ValueError("damaged: its checksum is wrong")
    return tensors


def _read_torch(path: Path) -> Any:
    """What torch saved, without unpickling code; torch itself compares no checksum of the archive's records."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            held, size = sum(record.file_size for record in archive.infolist()), path.stat().st_size
            if held > _MOST_UNPACKED * size:
                raise ValueError(f"it has {size} bytes, and its records unpack to {held}: torch.save packs none")
            if (broken := archive.testzip()) is not None:
                raise ValueError(f"the checksum of its record {broken} is wrong")
    return torch.load(path, map_location="cpu", weights_only=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint as torch or safetensors wrote it, or an index of such shards; never unpickles code.

    Raises:
        UserError: missing, unreadable, or holding more than tensors and plain values.
    """
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist" if not path.exists() else f"checkpoint {path} is no file")
    if is_index(path):
        return _gathered(path)
    with path.open("rb") as file:
        if file.read(24) == b"version https://git-lfs.":
            raise UserError(f"checkpoint {path} is Git LFS's pointer to a file, not the file: fetch it by git lfs pull")
    try:
        if path.suffix == ".safetensors":
            return dict(read_safetensors(path))
        content = _read_torch(path)
    except Exception as error:
        if "TorchScript" in str(error):
            raise UserError(
                f"checkpoint {path} is a TorchScript file (torch.jit.save), which holds code besides weights; "
                "save the model's state_dict instead: torch.save(torch.jit.load(file).state_dict(), ...)"
            ) from error
        if path.suffix == ".safetensors":
            raise UserError(f"checkpoint {path} is {error}") from error
        if "Unsupported global" in str(error) or "GLOBAL" in str(error):  # torch refused a global that is no tensor
            raise UserError(
                f"checkpoint {path} holds pickled objects besides weights, which could run code; "
                "save its state_dict alone and give that"
            ) from error
        detail = "neither a zip archive nor a pickle" if isinstance(error, UnpicklingError) else first_line(error)
        raise UserError(f"checkpoint {path} is no readable torch file: {detail}") from error
    if not isinstance(content, dict):
        raise UserError(f"checkpoint {path} holds a {type(content).__name__}, not a state_dict")
    return content


def _gathered(index: Path) -> dict[str, Any]:
    """The tensors of all shards that an index names, each where it says."""
    where, content = weight_map(index), dict[str, Any]()
    for shard in dict.fromkeys(where.values()):
        content |= {name: tensor for name, tensor in read_checkpoint(shard).items() if where.get(name) == shard}
    if missing := [name for name in where if name not in content]:
        raise UserError(f"checkpoint {index}: its shard {where[missing[0]].name} does not hold '{missing[0]}'")
    return content


def read_weights(path: Path, expected: Collection[str] = ()) -> dict[str, Tensor]:
    """The weights of one model in a checkpoint.

    Takes safetensors, a plain ``state_dict``, one wrapped under a key of ``WRAPPERS``, or under any other where only
    one holds tensors, names behind ``module.``, ``_orig_mod.``, ``model.`` or ``student.``, and Lightning checkpoints
    of ours (of which the student is taken, its adapters left).

    Args:
        path: of the checkpoint.
        expected: the model's names; a prefix that they have as well is kept.

    Raises:
        UserError: see :func:`read_checkpoint`; or no tensors in it.
    """
    weights = read_tensors(path)
    if any(name.startswith("student.") for name in weights) and not any(name in expected for name in weights):
        weights = {name: value for name, value in weights.items() if name.startswith("student.")}
    if "n_averaged" not in expected:  # the counter of torch's AveragedModel
        weights.pop("n_averaged", None)
    for prefix in PREFIXES * 2:
        if any(name in expected for name in weights):
            break
        if weights and all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    return weights


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors in a checkpoint under their own names, unwrapped.

    Raises:
        UserError: see :func:`read_checkpoint`; or no tensors in it.
    """
    content = _unwrapped(read_checkpoint(path), path)
    weights = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not weights:
        raise UserError(
            f"checkpoint {path} holds no weights; its keys: {', '.join(map(str, list(content)[:6])) or 'none'}"
        )
    return weights


def _unwrapped(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """The innermost dict of weights; says so where there are others beside it."""
    while not _holds_tensors(content) or any(key in content for key in WRAPPERS):
        inner = {key: value for key, value in content.items() if isinstance(value, dict)}
        known = [inner[key] for key in WRAPPERS if key in inner]
        holding = [value for value in inner.values() if _holds_tensors(value)]
        candidates = known[:1] or holding or list(inner.values())
        if len(candidates) != 1:
            break
        (content,) = candidates
        others = [str(key) for key, value in inner.items() if value is not content and _holds_tensors(value)]
        if others and _holds_tensors(content):
            taken = next(key for key, value in inner.items() if value is content)
            log.info(f"{path}: the weights under {taken!r} are taken, not those under {', '.join(others)}")
    return content


def _holds_tensors(content: Mapping[Any, Any]) -> bool:
    return any(isinstance(value, Tensor) for value in content.values())


def load_weights(model: nn.Module, path: Path, name: str, without: str | None = None) -> None:
    """Loads a checkpoint into ``model``, every key and every shape.

    Args:
        model: the model, changed in place.
        path: of the checkpoint; see :func:`read_weights`.
        name: how error messages call the model.
        without: path of a classifier that was taken off; the file may have one.

    Raises:
        UserError: see :func:`read_weights`; or missing keys, unexpected keys, other shapes (another architecture,
            another number of classes), or values that are NaN or infinite.
    """
    state = weights_of(model)
    plain = {key for key, value in model.state_dict().items() if not isinstance(value, Tensor)}
    weights = read_weights(path, state)
    if without is not None:
        weights = {key: value for key, value in weights.items() if not key.startswith(f"{without}.")}
    missing = [key for key in state if key not in weights and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in weights if key not in state]
    shapes = [key for key in state if key in weights and key not in plain and weights[key].shape != state[key].shape]

    def some(keys: list[str]) -> str:
        return f"{len(keys)} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"

    different = {"missing keys": missing, "unexpected keys": unexpected}
    if problems := [f"{label} {some(keys)}" for label, keys in different.items() if keys]:
        raise UserError(f"checkpoint {path} does not fit {name}: {'; '.join(problems)}; is it another architecture?")
    if shapes:
        key = shapes[-1]
        raise UserError(
            f"checkpoint {path} does not fit {name}: {key} has shape {tuple(weights[key].shape)} in the file and "
            f"{tuple(state[key].shape)} in the model ({len(shapes)} such); another number of classes or another width?"
        )
    source = f"checkpoint {path} of {name}"
    for key, tensor in weights.items():
        if key not in plain and (problem := unfit(tensor, state[key])):
            raise UserError(f"{source}: tensor '{key}' is {problem}; save its state_dict in the model's own type")
    check_finite(weights, source, state)
    put_weights(model, state | weights)


def put_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Gives a model all of its weights, as :func:`weights_of` gives them."""
    current = model.state_dict()
    content = OrderedDict((k, v if isinstance(current[k], Tensor) else _unpacked(v)) for k, v in weights.items())
    content._metadata = getattr(current, "_metadata", {})  # type: ignore[attr-defined] # versions of its modules
    model.load_state_dict(content)


def check_reloads(model: nn.Module, name: str) -> None:
    """A UserError unless a model takes its own weights, as they would be written, back in."""
    weights = weights_of(model)
    try:
        put_weights(model, weights)
    except Exception as error:  # of the model's own code
        raise UserError(f"{name} cannot load its own state_dict, to open its run again: {first_line(error)}") from error
