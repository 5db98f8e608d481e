"""Taps: read the inner layers of any ``nn.Module`` by module path, without touching its code.

A layer's key is a module path, perhaps with a suffix: ``:input`` for what the module reads instead of what it gives,
``:channels_last`` for a map (N, H, W, C) that is given as (N, C, H, W).
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from distill.models.outputs import Outputs
from distill.training.acceleration.cuda_graphs import Graph


def first_tensor(value: Any) -> Tensor | None:
    """The tensor a module returned: itself, or the first one of a tuple or list."""
    if isinstance(value, (tuple, list)):
        value = next((item for item in value if isinstance(item, Tensor)), None)
    return value if isinstance(value, Tensor) else None


INPUT, CHANNELS_LAST = ":input", ":channels_last"


def module_path(key: str) -> str:
    """A layer's key without its suffix."""
    return key.removesuffix(INPUT).removesuffix(CHANNELS_LAST)


def to_vectors(x: Tensor | None) -> Tensor:
    """An embedding (N, D): maps (N, D, H, W) are averaged over H × W (a convolution is the head), others flattened."""
    assert x is not None, "the head was called without a tensor"
    return x.mean(dim=(2, 3)) if x.dim() == 4 else x.flatten(1)


class FeatureExtractor:
    """Calls a model and gives :class:`Outputs`, through forward hooks on the layers asked for and on no others.

    A tap is no ``nn.Module``: it adds nothing to the model's module tree, ``state_dict`` or exported file.

    Args:
        model: any module whose forward gives logits.
        layers: keys of the layers that are kept; see the top of this file.
        head: module path of the classifier; its *input* is the embedding. None: no embedding.
    """

    def __init__(self, model: nn.Module, layers: Iterable[str] = (), head: str | None = None) -> None:
        self.model = model
        self._features: dict[str, Tensor] | None = None  # None outside a call: other forwards leave nothing here
        self._embedding: Tensor | None = None
        self._compiled: Callable[[Any], Outputs] | None = None
        self._compiled_for: tuple[torch.Size, bool] | None = None
        self._before: tuple[Any, Any] | None = None  # the capture of a graph
        modules = {key: model.get_submodule(module_path(key)) for key in dict.fromkeys(layers)}
        self._hooks = [
            module.register_forward_pre_hook(self._input_keeper(key), with_kwargs=True)
            if key.endswith(INPUT)
            else module.register_forward_hook(self._keeper(key))
            for key, module in modules.items()
        ]
        if head is not None:
            keeper = self._embedding_keeper()
            self._hooks.append(model.get_submodule(head).register_forward_pre_hook(keeper, with_kwargs=True))

    def remove(self) -> None:
        """Takes the hooks off the model."""
        for hook in self._hooks:
            hook.remove()

    def _keeper(self, key: str) -> Callable[[nn.Module, Any, Any], None]:
        def keep(_module: nn.Module, _args: Any, output: Any) -> None:
            tensor = first_tensor(output)
            if tensor is not None and self._features is not None:
                self._features[key] = tensor.permute(0, 3, 1, 2) if key.endswith(CHANNELS_LAST) else tensor

        return keep

    def _input_keeper(self, key: str) -> Callable[[nn.Module, Any, Any], None]:
        def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            tensor = first_tensor([*args, *kwargs.values()])
            if tensor is not None and self._features is not None:  # of several calls the last one counts
                self._features[key] = tensor.clone() if getattr(module, "inplace", False) else tensor

        return keep

    def _embedding_keeper(self) -> Callable[[nn.Module, Any, Any], None]:
        def keep(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if self._features is not None:
                self._embedding = to_vectors(first_tensor([*args, *kwargs.values()]))

        return keep  # no bound method: a copy of the model would take the tap along, and all that is compiled for it

    def compile(self, inputs: Tensor) -> None:
        """From now on, inputs of this shape take a compiled forward while the model is in the mode it is in now."""
        self._compiled = torch.compile(self.eagerly, dynamic=False)
        self._compiled_for = (inputs.shape, self.model.training)

    def capture(self, inputs: Tensor, context: Callable[[], AbstractContextManager[Any]]) -> None:
        """From now on, inputs of this shape replay a CUDA graph of the forward; it is not differentiated.

        What a call gives is overwritten by the next.

        Args:
            inputs: a whole batch, on a CUDA device.
            context: in which the forward computes.

        Raises:
            RuntimeError: see ``Graph``.
        """
        forward = self._compiled or self.eagerly

        def compute(inputs: Tensor) -> Outputs:
            with torch.no_grad(), context():
                return forward(inputs)

        graph = Graph(compute, [inputs], stream="teacher")
        self._before = (self._compiled, self._compiled_for)
        self._compiled, self._compiled_for = graph, (inputs.shape, self.model.training)

    def release(self) -> None:
        """Gives back what :meth:`capture` holds on the device; forwards are what they were before it."""
        if self._before is not None:
            (self._compiled, self._compiled_for), self._before = self._before, None

    def eager(self) -> None:
        """Ends that."""
        self._compiled = self._compiled_for = None

    def __call__(self, inputs: Any) -> Outputs:
        """One forward of the model; nothing of it is kept afterwards."""
        if self._compiled is not None and (getattr(inputs, "shape", None), self.model.training) == self._compiled_for:
            return self._compiled(inputs)
        return self.eagerly(inputs)

    def eagerly(self, inputs: Any) -> Outputs:
        """The same, whatever was compiled."""
        features: dict[str, Tensor] = {}
        self._features = features
        try:
            logits = self.model(inputs)
            return Outputs(logits, features, self._embedding)
        finally:
            self._features = self._embedding = None
