"""A model's layers, their shapes, its stages and its classifier, from one dry forward."""

import logging
from dataclasses import dataclass, field

from torch import nn

from distill.distillation.feature_extractor import CHANNELS_LAST, INPUT, module_path
from distill.utils.errors import UserError, nearest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelInfo:
    """Layers, shapes, stages and classifier of a model, as one dry forward recorded them.

    Attributes:
        name: how error messages call the model ("the student resnet8").
        shapes: output shape of every module that gave a tensor, by path, in the order in which they finished.
        calls: how often each module was called.
        stages: paths of the stages: stem, stage 1, … last (the model's ``stages``, or inferred from the sizes of maps).
        logits: shape of the model's output.
        head: path of the classifier, whose input is the embedding; None if there is none.
        embedding: shape of the embedding.
        overwritten: modules whose output a later one changes in place.
        inputs: shape of the tensor that every module read (its last call).
        channels_last: modules that give maps as (N, H, W, C).
        preactivations: of every module whose output an activation gives, or a BatchNorm reads, the key of the layer
            before the (next) activation.
        norms: of every module, the path of the BatchNorm2d before its (next) activation, where there is one.
        rectified: modules whose output was nowhere negative.
        attention: of every encoder layer of a transformer, the paths of its projections to queries, keys and values.
        teacher_layers: of every encoder layer, the number of the teacher's that it was taken from (the model's
            ``teacher_layers``); empty for a model of its own.
        auxiliary: of a model of maps, the path of a second head that is trained beside the first (the model's
            ``auxiliary``, or torchvision's ``aux_classifier``); None: there is none.
    """

    name: str
    shapes: dict[str, tuple[int, ...]]
    calls: dict[str, int]
    stages: tuple[str, ...]
    logits: tuple[int, ...]
    head: str | None
    embedding: tuple[int, ...] | None
    overwritten: frozenset[str] = frozenset()
    inputs: dict[str, tuple[int, ...]] = field(default_factory=dict)
    channels_last: frozenset[str] = frozenset()
    preactivations: dict[str, str] = field(default_factory=dict)
    norms: dict[str, str] = field(default_factory=dict)
    rectified: frozenset[str] = frozenset()
    attention: tuple[tuple[str, ...], ...] = ()
    teacher_layers: tuple[int, ...] = ()
    auxiliary: str | None = None

    def projections(self, layer: int | str) -> list[str]:
        """Keys of a layer's projections to queries, keys and values.

        Args:
            layer: its number, from 0; negative: from the end.

        Raises:
            UserError: the model has no such layer, or none whose projections are modules of their own.
        """
        if not any(self.attention):
            raise UserError(f"{self.name} has no attention whose queries, keys and values are layers of their own")
        if isinstance(layer, bool) or not isinstance(layer, int):
            raise UserError(f"a layer whose attention is read is a number, got {layer!r}")
        if not -len(self.attention) <= layer < len(self.attention):
            raise UserError(f"{self.name} has no layer {layer}; its encoder has {len(self.attention)} of them, from 0")
        return list(self.attention[layer])

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of what an extractor returns for a layer's key."""
        path = module_path(key)
        if key.endswith(INPUT):
            return self.inputs[path]
        shape = self.shapes[path]
        return (shape[0], shape[3], shape[1], shape[2]) if key.endswith(CHANNELS_LAST) else shape

    def preactivation(self, spec: int | str) -> str:
        """The key of the layer before a stage's last activation; see :meth:`layer`.

        That is what the activation module reads which gives the stage's output; in a network that normalises and
        activates at the start of a stage, what the next BatchNorm makes of the output; else the output itself.

        Raises:
            UserError: as :meth:`layer`; or the output is nowhere negative and no activation module gives it.
        """
        key = self.layer(spec)
        if key in self.preactivations:
            return self.preactivations[key]
        if key in self.rectified:
            raise UserError(
                f"what comes before the activation of layer '{key}' of {self.name} cannot be told (its output is "
                "nowhere negative, and no module gives it): name the layer before the activation by module path"
            )
        return key

    def layer(self, spec: int | str) -> str:
        """The layer's key that ``spec`` means: a stage's number (0 is the stem, -1 the last), or a module path.

        Of a model of transformers, which another module holds as ``model``, the path is one in either of them.

        Raises:
            UserError: no such stage or layer, or one that gives no single tensor per forward.
        """
        if isinstance(spec, bool) or not isinstance(spec, int | str):
            raise UserError(f"a layer of {self.name} is a stage's number or a module path, got {spec!r}")
        if isinstance(spec, int):
            if not self.stages:
                raise UserError(f"{self.name} has no known stages: name its layer by module path instead of {spec}")
            if not -len(self.stages) <= spec < len(self.stages):
                names = ", ".join(f"{i} = {path}" for i, path in enumerate(self.stages))
                raise UserError(f"{self.name} has no stage {spec}; its stages: {names}")
            spec = self.stages[spec]
        if module_path(spec) not in self.shapes and module_path(f"model.{spec}") in self.shapes:
            spec = f"model.{spec}"
        path = module_path(spec)
        if path not in self.shapes:
            raise UserError(f"{self.name} has no layer '{spec}': {nearest(path, self.shapes)}")
        if spec.endswith(INPUT):
            return spec
        if self.calls[path] != 1:
            raise UserError(
                f"layer '{path}' of {self.name} runs {self.calls[path]} times in one forward: tap the layer around it"
            )
        if path in self.overwritten:
            raise UserError(
                f"the output of layer '{path}' of {self.name} is overwritten in place by a later layer: "
                "tap the layer around it, or the one that overwrites it"
            )
        return f"{path}{CHANNELS_LAST}" if path in self.channels_last else path


@dataclass(frozen=True)
class NamedModel:
    """A model, its name and its :class:`ModelInfo`."""

    name: str
    model: nn.Module
    model_info: ModelInfo

    @property
    def without(self) -> str | None:
        """Path of the classifier that was taken off; None: the model is whole."""
        head = self.model_info.head
        return head if head and isinstance(self.model.get_submodule(head), nn.Identity) else None
