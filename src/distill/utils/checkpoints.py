"""Weights on disk: read without unpickling code, loaded strictly, written whole or not at all."""

from collections.abc import Collection
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import safetensors.torch
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from safetensors import SafetensorError
from torch import Tensor, nn

from distill.utils.atomic import atomic_path
from distill.utils.errors import UserError, first_line

WRAPPERS = ("state_dict", "model")
PREFIXES = ("module.", "_orig_mod.", "student.", "model.")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint file, written under a temporary name and renamed: a kill never leaves half a file."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        with atomic_path(Path(path)) as temporary:
            super().save_checkpoint(checkpoint, temporary, storage_options)

    def load_checkpoint(self, path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        return read_checkpoint(Path(path))


def save_weights(model: nn.Module, path: Path) -> None:
    """Writes the model's ``state_dict`` as safetensors, atomically. Shared tensors are written once per name."""
    weights = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    with atomic_path(path) as temporary:  # safetensors' save_file would make it readable to its owner alone
        temporary.write_bytes(safetensors.torch.save(weights))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint as torch or safetensors wrote it; never unpickles code.

    Raises:
        UserError: missing, unreadable, or holding more than tensors and plain values.
    """
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist" if not path.exists() else f"checkpoint {path} is no file")
    try:
        if path.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise UserError(f"checkpoint {path} is no readable safetensors file: {error}") from error
    except Exception as error:
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


def read_weights(path: Path, expected: Collection[str] = ()) -> dict[str, Tensor]:
    """The weights of one model in a checkpoint.

    Takes safetensors, a plain ``state_dict``, one wrapped under ``state_dict`` or ``model``, names behind
    ``module.``, ``_orig_mod.``, ``model.`` or ``student.``, and Lightning checkpoints of ours (of which the student
    is taken, its adapters left).

    Args:
        path: of the checkpoint.
        expected: the model's names; a prefix that they have as well is kept.

    Raises:
        UserError: see :func:`read_checkpoint`; or no tensors in it.
    """
    content = read_checkpoint(path)
    while True:
        inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), dict)), None)
        if inner is None:
            break
        content = inner
    weights = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if any(name.startswith("student.") for name in weights) and not any(name in expected for name in weights):
        weights = {name: value for name, value in weights.items() if name.startswith("student.")}
    for prefix in PREFIXES * 2:
        if any(name in expected for name in weights):
            break
        if weights and all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    if not weights:
        raise UserError(
            f"checkpoint {path} holds no weights; its keys: {', '.join(map(str, list(content)[:6])) or 'none'}"
        )
    return weights


def load_weights(model: nn.Module, path: Path, name: str) -> None:
    """Loads a checkpoint into ``model``, every key and every shape.

    Args:
        model: the model, changed in place.
        path: of the checkpoint; see :func:`read_weights`.
        name: how error messages call the model.

    Raises:
        UserError: see :func:`read_weights`; or missing keys, unexpected keys, other shapes (another architecture,
            another number of classes).
    """
    state = model.state_dict()
    weights = read_weights(path, state)
    missing = [key for key in state if key not in weights and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in weights if key not in state]
    shapes = [key for key in state if key in weights and weights[key].shape != state[key].shape]

    def some(keys: list[str]) -> str:
        return f"{len(keys)} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"

    if missing or unexpected:
        problems = [
            f"{what} {some(keys)}"
            for what, keys in (("missing keys", missing), ("unexpected keys", unexpected))
            if keys
        ]
        raise UserError(f"checkpoint {path} does not fit {name}: {'; '.join(problems)}; is it another architecture?")
    if shapes:
        key = shapes[-1]
        raise UserError(
            f"checkpoint {path} does not fit {name}: {key} has shape {tuple(weights[key].shape)} in the file and "
            f"{tuple(state[key].shape)} in the model ({len(shapes)} such); another number of classes or another width?"
        )
    model.load_state_dict({**state, **weights})
