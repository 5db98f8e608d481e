"""Read hidden features of any ``nn.Module`` by module path, without touching its code.

A layer's key is a module path, perhaps with a suffix: ``:input`` for the module's input instead of its output,
``:channels_last`` for an output (N, H, W, C) that is returned as (N, C, H, W).
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from distill.models.outputs import Outputs, output_layer
from distill.utils.modes import evaluating

INPUT, CHANNELS_LAST = ":input", ":channels_last"
EMBEDDING = ":embedding:input"  # as a key; no path begins with a colon


def first_tensor(value: Any) -> Tensor | None:
    """The tensor a module returned: the value itself, or the first one of a tuple or list."""
    if isinstance(value, (tuple, list)):
        value = next((item for item in value if isinstance(item, Tensor)), None)
    return value if isinstance(value, Tensor) else None


def _float(tensor: Tensor) -> Tensor:
    """float64 to float32, in which adapters compute."""
    return tensor.float() if tensor.dtype == torch.float64 else tensor


def module_path(key: str) -> str:
    """A layer's key without its suffix."""
    return key.removesuffix(INPUT).removesuffix(CHANNELS_LAST)


def to_vectors(x: Tensor | None) -> Tensor:
    """An embedding (N, D): maps (N, D, H, W) are averaged over H × W (a convolution is the head), others flattened."""
    assert x is not None, "the head was called without a tensor"
    return x.mean(dim=(2, 3)) if x.dim() == 4 else x.flatten(1)


class FixedShapeForward(NamedTuple):
    """A faster forward (compiled, or captured as a CUDA graph) that takes inputs of one shape in one mode.

    Attributes:
        function: inputs to :class:`Outputs`, as :meth:`FeatureExtractor.eager` computes them.
        shape: of the inputs.
        training: the mode of the model, train or eval.
    """

    function: Callable[[Any], Outputs]
    shape: torch.Size
    training: bool


class FeatureExtractor:
    """Call a model and return :class:`Outputs`, through forward hooks on the requested layers and on no others.

    It is no ``nn.Module``: it adds nothing to the model's module tree, ``state_dict`` or exported file.

    Args:
        model: any module whose forward returns logits.
        layers: keys of the layers to return, see the top of this file.
        head: module path of the classifier; its *input* is the embedding. None: no embedding.

    Attributes:
        fast_forward: used instead of the eager forward where shape and mode match; set by
            ``distill.training.acceleration``.
    """

    def __init__(self, model: nn.Module, layers: Iterable[str] = (), head: str | None = None) -> None:
        self.model = model
        self.layers = tuple(dict.fromkeys(layers))
        self.head = head
        self.fast_forward: FixedShapeForward | None = None
        self._features: dict[str, Tensor] | None = None  # None outside a call: other forwards leave nothing here
        self._hooks = [self._hook(key, model.get_submodule(module_path(key))) for key in self.layers]
        if head is not None:
            self._hooks.append(self._hook(EMBEDDING, model.get_submodule(head)))

    def remove(self) -> None:
        """Remove the hooks from the model."""
        for hook in self._hooks:
            hook.remove()

    def move_to(self, model: nn.Module) -> "FeatureExtractor":
        """An extractor of the same layers of another copy of the model; this one is removed."""
        self.remove()
        return FeatureExtractor(model, self.layers, self.head)

    def _hook(self, key: str, module: nn.Module) -> RemovableHandle:
        """Keep a layer's output, its input, or the embedding that it reads.

        The hooks are closures, no bound methods: a copy of the model would copy the extractor along, and all that was
        compiled for it.
        """

        def read(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            tensor = first_tensor([*args, *kwargs.values()])
            if self._features is None:
                return
            if key == EMBEDDING:
                self._features[key] = _float(to_vectors(tensor))
            elif tensor is not None:  # of several calls the last one counts
                self._features[key] = _float(tensor.clone() if getattr(module, "inplace", False) else tensor)

        def give(_module: nn.Module, _args: Any, output: Any) -> None:
            tensor = first_tensor(output)
            if tensor is not None and self._features is not None:
                self._features[key] = _float(tensor.permute(0, 3, 1, 2) if key.endswith(CHANNELS_LAST) else tensor)

        if key.endswith(INPUT):
            return module.register_forward_pre_hook(read, with_kwargs=True)
        return module.register_forward_hook(give)

    def __call__(self, inputs: Any) -> Outputs:
        """One forward of the model."""
        fast = self.fast_forward
        if fast is not None and (getattr(inputs, "shape", None), self.model.training) == fast[1:]:
            return fast.function(inputs)
        return self.eager(inputs)

    def eager(self, inputs: Any) -> Outputs:
        """One forward of the model itself."""
        features: dict[str, Tensor] = {}
        self._features = features
        try:
            logits = self.model(inputs)
            embedding = features.pop(EMBEDDING, None)
            return Outputs(logits, features, embedding, head=output_layer(self.model))
        finally:
            self._features = None


def extract(model: nn.Module, layers: Iterable[str], inputs: Any, head: str | None = None) -> Outputs:
    """One forward in eval mode without gradient; the model keeps its modes and gets no hooks."""
    extractor = FeatureExtractor(model, layers, head)
    try:
        with evaluating(model):
            return extractor(inputs)
    finally:
        extractor.remove()
