"""Read hidden features of any ``nn.Module`` by module path, without touching its code.

A layer's key is a module path, perhaps with a suffix: ``:input`` for the module's input instead of its output,
``:channels_last`` for an output (N, H, W, C) that is returned as (N, C, H, W).
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from distill.models.outputs import Outputs
from distill.utils.modes import evaluating

INPUT, CHANNELS_LAST = ":input", ":channels_last"


def first_tensor(value: Any) -> Tensor | None:
    """The tensor a module returned: the value itself, or the first one of a tuple or list."""
    if isinstance(value, (tuple, list)):
        value = next((item for item in value if isinstance(item, Tensor)), None)
    return value if isinstance(value, Tensor) else None


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
        self._embedding: Tensor | None = None
        modules = {key: model.get_submodule(module_path(key)) for key in self.layers}
        self._hooks = [
            module.register_forward_pre_hook(self._input_hook(key), with_kwargs=True)
            if key.endswith(INPUT)
            else module.register_forward_hook(self._output_hook(key))
            for key, module in modules.items()
        ]
        if head is not None:
            hook = self._embedding_hook()
            self._hooks.append(model.get_submodule(head).register_forward_pre_hook(hook, with_kwargs=True))

    def remove(self) -> None:
        """Remove the hooks from the model."""
        for hook in self._hooks:
            hook.remove()

    def move_to(self, model: nn.Module) -> "FeatureExtractor":
        """An extractor of the same layers of another copy of the model; this one is removed."""
        self.remove()
        return FeatureExtractor(model, self.layers, self.head)

    # The hooks are closures, no bound methods: a copy of the model would copy the extractor along, and all that was
    # compiled for it.

    def _output_hook(self, key: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            tensor = first_tensor(output)
            if tensor is not None and self._features is not None:
                self._features[key] = tensor.permute(0, 3, 1, 2) if key.endswith(CHANNELS_LAST) else tensor

        return hook

    def _input_hook(self, key: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            tensor = first_tensor([*args, *kwargs.values()])
            if tensor is not None and self._features is not None:  # of several calls the last one counts
                self._features[key] = tensor.clone() if getattr(module, "inplace", False) else tensor

        return hook

    def _embedding_hook(self) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if self._features is not None:
                self._embedding = to_vectors(first_tensor([*args, *kwargs.values()]))

        return hook

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
            return Outputs(logits, features, self._embedding)
        finally:
            self._features = self._embedding = None


def extract(model: nn.Module, layers: Iterable[str], inputs: Any, head: str | None = None) -> Outputs:
    """One forward in eval mode without gradient; the model keeps its modes and gets no hooks."""
    extractor = FeatureExtractor(model, layers, head)
    try:
        with evaluating(model):
            return extractor(inputs)
    finally:
        extractor.remove()
