"""SimKD: a student that ends in the teacher's classifier."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.distillation.feature_extractor import CHANNELS_LAST, INPUT, extract
from distill.distillation.model_info import ModelInfo
from distill.losses.adapters import as_map


class SimKD(nn.Module):
    """The student's backbone, a projector to the teacher's width, the mean over space, the teacher's classifier.

    It is trained and deployed in this form. Logits = W · mean_hw(projector(f_s)) + b, with W and b of the teacher,
    frozen; the projector is 1×1 convolution to C_t / factor channels, 3×3 convolution, 1×1 convolution to C_t, each
    followed by BatchNorm and ReLU. A student's map that is larger than the teacher's is average-pooled to its size
    first. The only loss is ``distill.losses.simkd_loss`` between the layer ``projector`` and the teacher's map.

    The wrapper is built before the teacher is trained; :meth:`adopt` copies the trained classifier.

    Args:
        student: becomes the backbone: ``nn.Identity`` replaces its classifier and whatever else runs after
            ``student_layer`` and has parameters.
        student_info: its :class:`ModelInfo`.
        teacher: its classifier is copied; otherwise left as it is.
        teacher_info: its :class:`ModelInfo`.
        example: a few inputs.
        factor: by how much the projector is narrower inside than C_t, at least 1 (paper: 2; 8 is cheaper).
        student_layer: the student's last map: a stage's number or a module path.
        teacher_layer: the teacher's last map, whose mean over space its classifier reads.

    Attributes:
        stages: the student's, as module paths of the wrapper.

    Raises:
        ValueError: the teacher's logits are not classifier(mean over space of ``teacher_layer``), or one of the two
            layers is no map; shapes are shown. Or factor is out of range.

    Source: Chen et al. 2022, "Knowledge Distillation with the Reused Teacher Classifier", arXiv:2203.14001; the 3×3
    convolution is a full one, as in the authors' code (which has a depthwise one as a comment).
    """

    def __init__(
        self,
        student: nn.Module,
        student_info: ModelInfo,
        teacher: nn.Module,
        teacher_info: ModelInfo,
        example: Tensor,
        factor: int = 2,
        student_layer: int | str = -1,
        teacher_layer: int | str = -1,
    ) -> None:
        super().__init__()
        if isinstance(factor, bool) or not isinstance(factor, int) or factor < 1:
            raise ValueError(f"factor must be an integer of at least 1, got {factor!r}")
        self._head, target = _reusable(teacher, teacher_info, teacher_layer, example)
        self._teacher_map = (teacher_info, teacher_layer, example)
        key = student_info.layer(student_layer)
        if key.endswith(INPUT):
            raise ValueError(f"SimKD needs what a layer of {student_info.name} gives, not '{key}'")
        source = _map(student, key, student_info, example)
        self.stages = tuple(f"backbone.{path}" for path in student_info.stages)
        self.size = (target.shape[2], target.shape[3])
        self._channels_last = key.endswith(CHANNELS_LAST)
        self._captured: list[Tensor] | None = None  # None outside a call: other forwards store nothing here
        self.backbone = _without_tail(student, student_info, key, source, example)
        self.backbone.get_submodule(key.removesuffix(CHANNELS_LAST)).register_forward_hook(self._capture)
        self.projector = _projector(source.shape[1], target.shape[1], factor)
        self.classifier = copy.deepcopy(teacher.get_submodule(self._head)).requires_grad_(False)

    def adopt(self, teacher: nn.Module) -> None:
        """Copy the trained teacher's classifier.

        Raises:
            ValueError: trained, its classifier does not read the mean of the map after all (what stood between the two
                did nothing before training).
        """
        _reusable(teacher, *self._teacher_map)
        self.classifier.load_state_dict(teacher.get_submodule(self._head).state_dict())

    def _capture(self, _module: nn.Module, _args: tuple[Tensor, ...], output: Tensor) -> None:
        if self._captured is not None:
            self._captured.append(output)

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs, as the student takes them, to logits (N, C)."""
        captured: list[Tensor] = []
        self._captured = captured
        try:
            self.backbone(x)
        finally:
            self._captured = None
        feature = as_map(captured[0].permute(0, 3, 1, 2) if self._channels_last else captured[0])
        size = (min(feature.shape[2], self.size[0]), min(feature.shape[3], self.size[1]))
        if feature.shape[2:] != size:
            feature = F.adaptive_avg_pool2d(feature, size)
        logits: Tensor = self.classifier(self.projector(feature).mean((2, 3)))
        return logits


def _projector(student: int, teacher: int, factor: int) -> nn.Sequential:
    hidden = max(1, teacher // factor)
    layers: list[nn.Module] = []
    for c_in, c_out, kernel in ((student, hidden, 1), (hidden, hidden, 3), (hidden, teacher, 1)):
        layers += [nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()]
    return nn.Sequential(*layers)


def _map(model: nn.Module, key: str, model_info: ModelInfo, example: Tensor) -> Tensor:
    """A layer's output as a map (N, C, H, W)."""
    feature = extract(model, [key], example).features[key]
    try:
        return as_map(feature)
    except ValueError as error:
        raise ValueError(f"SimKD needs a map of {model_info.name}, and layer '{key}' gives none: {error}") from None


def _reusable(teacher: nn.Module, model_info: ModelInfo, layer: int | str, example: Tensor) -> tuple[str, Tensor]:
    """Path of the teacher's classifier and the map of ``layer``, if the classifier reads that map's mean.

    Shapes alone do not tell: a BatchNorm and a ReLU between the two (as in WideResNets) leave them as they are.
    """
    key = model_info.layer(layer)
    feature = _map(teacher, key, model_info, example)
    head = teacher.get_submodule(model_info.head) if model_info.head else None
    if not isinstance(head, nn.Linear) or model_info.head is None:
        raise ValueError(f"SimKD needs a teacher that ends in a linear layer, and {model_info.name} does not")
    candidates = [
        path
        for path, shape in model_info.shapes.items()
        if len(shape) == 4 and shape[1] == head.in_features and model_info.calls[path] == 1
    ]
    outputs = extract(teacher, [key, *candidates], example)

    def fits(x: Tensor) -> bool:
        if x.dim() not in (3, 4) or as_map(x).shape[1] != head.in_features:
            return False
        with torch.no_grad():
            return torch.allclose(head(as_map(x).mean((2, 3))), outputs.logits, rtol=1e-3, atol=1e-4)

    if not fits(outputs.features[key]):
        others = [path for path in candidates if path not in model_info.overwritten and fits(outputs.features[path])]
        raise ValueError(
            f"SimKD needs a teacher whose classifier reads the mean over space of layer '{key}', and {model_info.name} "
            f"is none: that layer gives {tuple(feature.shape)}, the classifier '{model_info.head}' reads "
            f"{model_info.embedding}; layers that would do: {', '.join(others) or 'none'}"
        )
    return model_info.head, feature


def _without_tail(model: nn.Module, model_info: ModelInfo, key: str, source: Tensor, example: Tensor) -> nn.Module:
    """The model with what comes after the layer ``key`` and has parameters replaced by ``nn.Identity``.

    Where the model does not run without it, only the classifier is replaced and the rest is frozen.
    """
    layer = key.removesuffix(CHANNELS_LAST)
    order = list(model_info.shapes)  # in which the modules finished
    tail: dict[str, nn.Module] = {}
    for path in order[order.index(layer) + 1 :]:
        module = model.get_submodule(path)
        if model_info.calls[path] == 1 and not layer.startswith(f"{path}.") and any(True for _ in module.parameters()):
            tail[path] = module
    for path in tail:
        model.set_submodule(path, nn.Identity())
    try:
        same = torch.allclose(_map(model, key, model_info, example), source)
    except Exception:  # whatever a model raises that counts on a layer's width
        same = False
    if not same:
        for path, module in reversed(tail.items()):
            model.set_submodule(path, nn.Identity() if path == model_info.head else module.requires_grad_(False))
    return model
