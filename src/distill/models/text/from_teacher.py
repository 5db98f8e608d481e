"""A student cut from its teacher: some of its encoder layers, with its embeddings, pooler and head."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from distill.models.text import structure
from distill.models.text.encoder import Output, TextModel
from distill.models.text.factories import find_pooling, hf_model, prepare
from distill.models.text.pooling import Pooling
from distill.models.text.weights import build, set_labels
from distill.utils.errors import UserError

SPEC = "layers takes a number (3), a list ([0,2,4]) or even"


class CutTextModel(TextModel):
    """A text model with some of its teacher's layers.

    Attributes:
        teacher_layers: of each of its layers, the number of the teacher's, from 0.
    """

    def __init__(self, model: Any, output: Output, pooling: Pooling | None, teacher_layers: Sequence[int]) -> None:
        layers = f"layer{'s' * (len(teacher_layers) != 1)} {', '.join(map(str, teacher_layers))}"
        super().__init__(model, output, pooling, f"{layers} of its teacher")
        self.teacher_layers = tuple(teacher_layers)

    @torch.no_grad()
    def adopt(self, teacher: nn.Module) -> None:
        """Copies the teacher's weights: its chosen layers, embeddings, pooler and head.

        Args:
            teacher: a :class:`TextModel` of the same architecture and output, trained meanwhile.

        Raises:
            UserError: it is another kind of model.
        """
        if not isinstance(teacher, TextModel) or teacher.layer_list != self.layer_list:
            raise UserError(
                f"the student is cut from a {type(self.model).__name__}, and its teacher is "
                f"{type(getattr(teacher, 'model', teacher)).__name__}: both need the same name"
            )
        weights, prefix = teacher.model.state_dict(), f"{self.layer_list}."
        for key, own in self.model.state_dict().items():
            value = weights.get(_of_teacher(key, prefix, self.teacher_layers))
            if value is None or value.shape != own.shape:
                shape = "has none" if value is None else f"has {tuple(value.shape)}"
                raise UserError(
                    f"layers={list(self.teacher_layers)} of the teacher do not make a student: "
                    f"its {key} is {tuple(own.shape)}, and the teacher {shape}"
                )
            own.copy_(value)


def _of_teacher(key: str, prefix: str, layers: Sequence[int]) -> str:
    """The teacher's name of one of the student's tensors."""
    if not key.startswith(prefix):
        return key
    index, _, rest = key.removeprefix(prefix).partition(".")
    return f"{prefix}{layers[int(index)]}.{rest}"


def from_teacher(
    name: str | None,
    layers: int | str | Sequence[int],
    num_classes: int,
    output: Output = "text",
    class_names: Sequence[str] | None = None,
    pretrained: bool = True,
    tokenizer: str | None = None,
    pooling: str | None = None,
    **config: Any,
) -> CutTextModel:
    """A student with some of the encoder layers of a model of transformers.

    Until :meth:`CutTextModel.adopt` gives it the weights of a trained teacher, it has those of ``name``.

    Args:
        name: the teacher's: a folder or a hub name, as of :func:`~distill.models.text.factories.hf_model`.
        layers: a number k: of the teacher's n layers those numbered round((i + 1) · n / k) − 1 for i = 0 … k − 1,
            evenly spread with the last one always among them (of 6: 1, 3, 5 for 3 and 2, 5 for 2), the same layers
            that losses on hidden states pair with the student's; a list of numbers from 0, negative ones from the end;
            or "even": 0, 2, 4, …
        num_classes: C, at least 1.
        output: as of ``hf_model``.
        class_names: likewise.
        pretrained: start from the weights of ``name``; False: from random ones.
        tokenizer: likewise.
        pooling: likewise.
        config: likewise.

    Raises:
        UserError: see ``hf_model``; layers that the teacher does not have, or named twice; an architecture whose
            layers lie in no list of their own.

    Source:
        Sanh et al. 2019, DistilBERT (arXiv:1910.01108), which takes every second layer.

    Example:
        >>> student = from_teacher("./minilm", layers=3, num_classes=2)  # doctest: +SKIP
        >>> student.adopt(teacher)  # doctest: +SKIP
    """
    located, whole, cls = prepare(name, num_classes, output, class_names, config, "from_teacher")
    total = int(whole.num_hidden_layers)
    chosen = choose_layers(layers, total, str(name))
    pooled = find_pooling(located, output, pooling)
    with torch.device("meta"):
        teacher = build(cls, deepcopy(whole), located)
    layer_list = structure.layer_list(teacher, total)
    if layer_list is None:
        raise UserError(
            f"{name} is of the architecture '{whole.model_type}', whose layers lie in no list of their own: "
            "it cannot be cut; take model=hf or model=bert_small"
        )
    cut = _cut(whole, chosen)
    if output != "causal":
        set_labels(cut, num_classes, class_names)
    model = build(cls, cut, located)
    _check_places(set(model.state_dict()), set(teacher.state_dict()), f"{layer_list}.", chosen, str(name))
    student = CutTextModel(model, output, pooled, chosen)
    if pretrained:
        student.adopt(hf_model(name, num_classes, output, class_names, True, tokenizer, pooling, **config))
    return student


def _cut(config: Any, layers: Sequence[int]) -> Any:
    """A configuration with these layers alone, also in what it lists per layer."""
    cut, total = deepcopy(config), int(config.num_hidden_layers)
    cut.num_hidden_layers = len(layers)
    for key, value in config.to_dict().items():
        if isinstance(value, list) and len(value) == total and key.startswith("layer"):
            setattr(cut, key, [value[i] for i in layers])
    return cut


def _check_places(student: set[str], teacher: set[str], prefix: str, layers: Sequence[int], name: str) -> None:
    """A UserError where a layer has other weights in its new place (the first of ModernBERT has one norm less)."""
    for place, layer in enumerate(layers):
        here = {key.removeprefix(f"{prefix}{place}.") for key in student if key.startswith(f"{prefix}{place}.")}
        there = {key.removeprefix(f"{prefix}{layer}.") for key in teacher if key.startswith(f"{prefix}{layer}.")}
        if here != there:
            raise UserError(
                f"layers={list(layers)}: layer {layer} of {name} cannot stand at {place}, where this architecture has "
                f"{'no ' * (len(here) < len(there))}{min(here ^ there)}: begin with layer 0 (layers=even, or a list)"
            )


def choose_layers(spec: object, total: int, name: str) -> list[int]:
    """The numbers of the teacher's layers that ``layers`` of :func:`from_teacher` means.

    Args:
        spec: what the user gave.
        total: how many layers the teacher has.
        name: of the teacher, for error messages.

    Raises:
        UserError: no number, list or "even"; layers that the teacher does not have; the same one twice.

    Example:
        >>> choose_layers(3, 6, "minilm"), choose_layers("even", 6, "minilm"), choose_layers([0, -1], 6, "minilm")
        ([1, 3, 5], [0, 2, 4], [0, 5])
    """
    if spec == "even":
        return list(range(0, total, 2))
    if isinstance(spec, int) and not isinstance(spec, bool):
        if not 1 <= spec <= total:
            raise UserError(f"layers={spec}: {name} has {total} layers: at least 1 and at most {total} can be taken")
        return [round((i + 1) * total / spec) - 1 for i in range(spec)]
    is_list = isinstance(spec, Sequence) and not isinstance(spec, str)
    numbers = list(spec) if isinstance(spec, Sequence) and is_list else []
    if not numbers or not all(isinstance(i, int) and not isinstance(i, bool) for i in numbers):
        raise UserError(f"{SPEC}, got {spec!r}")
    wrong = [i for i in numbers if not -total <= i < total]
    if wrong:
        raise UserError(f"layers={spec}: {name} has no layer {wrong[0]}; its layers are 0 to {total - 1}")
    chosen = [i % total for i in numbers]
    if len(set(chosen)) < len(chosen):
        raise UserError(f"layers={spec} names a layer twice")
    return chosen
