"""All weights of a pretrained model but its classifier's, from a file, into a model that has another classifier."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from distill.utils.checkpoints import put_weights, read_tensors, weights_of
from distill.utils.errors import UserError
from distill.utils.values import check_finite, unfit

PREFIXES = ("module.", "_orig_mod.", "backbone.", "model.", "encoder.", "student.", "net.", "trunk.", "features.")
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class _Fit:
    """How a file's tensors fit a model once a prefix is taken off their names.

    Attributes:
        prefix: what is taken off.
        tensors: by the model's names, those behind the prefix.
        others: names without it.
        fitting: of the model's names those that the file has, in their shape.
        missing: of the model's names those that it has not.
        shapes: of the model's names those that it has in another shape.
    """

    prefix: str
    tensors: Mapping[str, Tensor]
    others: list[str]
    fitting: list[str]
    missing: list[str]
    shapes: list[str]


def load_backbone(model: nn.Module, path: Path, name: str, classifiers: Collection[str]) -> str:
    """Loads every weight but the classifiers' from a file; these are drawn anew from N(0, 0.01²), without bias.

    Libraries draw them for features of an untrained backbone: what a trained one gives makes logits of many nats, and
    the first hundred steps only undo that.

    Takes what :func:`read_weights` takes, with names behind any of ``PREFIXES``. A first convolution for another number
    of channels gets the file's weights summed over its channels and shared among its own: a grey image gives the
    response that it gave as RGB with equal channels.

    Args:
        model: changed in place.
        path: of the file.
        name: how messages call the model.
        classifiers: module paths of its last layers.

    Returns:
        One line: what was loaded and renamed, and what was left out.

    Raises:
        UserError: see :func:`read_checkpoint`; weights that are missing in the file or of another shape, weights for
            layers that the model does not have, values that are NaN or infinite.
    """
    state, found = weights_of(model), read_tensors(path)
    first = _first_convolution(model)
    fit = max((_fit(prefix, found, state, classifiers, first) for prefix in _prefixes(found)), key=_number)
    _check(fit, state, path, name, classifiers)
    loaded = {key: fit.tensors[key] for key in fit.fitting}
    source, channels = f"checkpoint {path} of {name}", ""
    for key, tensor in loaded.items():
        if problem := unfit(tensor, state[key]):
            raise UserError(f"{source}: tensor '{key}' is {problem}; save its state_dict in the model's own type")
    check_finite(loaded, source, state)
    if first in loaded and loaded[first].shape != state[first].shape:
        given, wanted = loaded[first].shape[1], state[first].shape[1]
        loaded[first] = loaded[first].float().sum(1, keepdim=True).expand_as(state[first]) / wanted
        channels = f", {given} input channels summed for {wanted}"
    put_weights(model, state | loaded)
    for classifier in map(model.get_submodule, classifiers):
        if isinstance(classifier, nn.Linear | nn.Conv2d):
            nn.init.normal_(classifier.weight, std=0.01)
            if classifier.bias is not None:
                nn.init.zeros_(classifier.bias)
    renamed = f" (names without '{fit.prefix}')" if fit.prefix else ""
    return f"{name}: {len(loaded)} weights from {path}{renamed}{channels}; {_left_out(fit, state, classifiers)}"


def _number(fit: _Fit) -> int:
    return len(fit.fitting)


def _prefixes(names: Iterable[str]) -> list[str]:
    """Every chain of ``PREFIXES`` with which a name begins, the shortest first."""
    chains = {""}
    for name in names:
        chain = ""
        while part := next((prefix for prefix in PREFIXES if name.startswith(prefix, len(chain))), ""):
            chain += part
            chains.add(chain)
    return sorted(chains, key=len)


def _fit(
    prefix: str, found: Mapping[str, Tensor], state: Mapping[str, Tensor], classifiers: Collection[str], first: str
) -> _Fit:
    tensors = {name.removeprefix(prefix): tensor for name, tensor in found.items() if name.startswith(prefix)}
    wanted = [key for key in state if not _below(key, classifiers)]
    missing = [key for key in wanted if key not in tensors and not key.endswith(_COUNTER)]
    present = [key for key in wanted if key in tensors]
    fitting = [key for key in present if _same_shape(tensors[key], state[key], any_channels=key == first)]
    others = [name for name in found if not name.startswith(prefix)]
    return _Fit(prefix, tensors, others, fitting, missing, [key for key in present if key not in fitting])


def _same_shape(tensor: Tensor, own: Tensor, any_channels: bool) -> bool:
    if any_channels and tensor.dim() == own.dim():
        return tensor.shape[:1] + tensor.shape[2:] == own.shape[:1] + own.shape[2:]
    return tensor.shape == own.shape


def _below(name: str, paths: Collection[str]) -> bool:
    return any(name.startswith(f"{path}.") for path in paths)


def _first_convolution(model: nn.Module) -> str:
    """The name of the first convolution's weights, "" where there is none that reads all channels of the input."""
    convolutions = ((path, layer) for path, layer in model.named_modules() if isinstance(layer, nn.Conv2d))
    path, layer = next(convolutions, ("", None))
    return f"{path}.weight".lstrip(".") if layer is not None and layer.groups == 1 else ""


def _check(fit: _Fit, state: Mapping[str, Tensor], path: Path, name: str, classifiers: Collection[str]) -> None:
    """A UserError unless the file has all that the model needs, and no weights for layers that it does not have."""

    def some(keys: list[str]) -> str:
        return f"{len(keys)} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"

    fitting = [key for key in fit.fitting if not key.endswith(_COUNTER)]
    total = len(fitting) + len(fit.missing) + len(fit.shapes)
    inside = {key.partition(".")[0] for key in state if not _below(key, classifiers)}
    unknown = [
        key
        for key in fit.tensors
        if key not in state
        and not _below(key, classifiers)
        and key.partition(".")[0] in inside
        and key.endswith((".weight", ".bias"))  # not what older versions kept beside them, as tables of positions
    ]
    problems = []
    if fit.missing:
        names = list(fit.tensors)
        problems.append(f"missing {some(fit.missing)}" + (f"; it holds {', '.join(names[:3])}" if names else ""))
    if fit.shapes:
        key = fit.shapes[0]
        shapes = f"{key} is {tuple(fit.tensors[key].shape)} in the file and {tuple(state[key].shape)} in the model"
        problems.append(f"{len(fit.shapes)} of other shapes ({shapes})")
    if unknown:
        problems.append(f"it holds {some(unknown)} that the model does not have")
    if problems:
        raise UserError(
            f"checkpoint {path} fits {len(fitting)} of the {total} weights of {name} (without its classifier): "
            f"{'; '.join(problems)}; is it another architecture, or another width?"
        )


def _left_out(fit: _Fit, state: Mapping[str, Tensor], classifiers: Collection[str]) -> str:
    """The end of the line: what is new in the model, and which of the file's weights were not used."""
    new = f"its classifier ({', '.join(classifiers)}) is new" if classifiers else "it has no classifier"
    unused = [key for key in fit.tensors if key not in fit.fitting and not key.endswith(_COUNTER)]
    counts: Counter[str] = Counter(_group(key, state) for key in (*unused, *fit.others))
    return new + (f", left out: {', '.join(f'{group} ({n})' for group, n in counts.items())}" if counts else "")


def _group(name: str, state: Mapping[str, Any]) -> str:
    """The layer that a weight belongs to where the model has it, else the first part of its name."""
    return name.rpartition(".")[0] if name in state else name.partition(".")[0]


def read_notes(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, the checksum among them.

    Raises:
        UserError: it is no safetensors file.
    """
    try:
        with safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise UserError(f"checkpoint {path} is no readable safetensors file: {error}") from error
