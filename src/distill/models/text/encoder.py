"""A text model as every other model here: one dict of tensors in, one tensor out."""

import hashlib
import inspect
import json
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn

from distill.models.outputs import HiddenStateModel
from distill.models.text import structure
from distill.models.text.causal import last_hidden_states
from distill.models.text.pooling import Pooling
from distill.utils.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Output = Literal["text", "tokens", "embedding", "causal"]
OUTPUTS = ("text", "tokens", "embedding", "causal")


class TextModel(HiddenStateModel, nn.Module):
    """A model of transformers that is called with a dict and returns a tensor.

    Attributes:
        model: the model of transformers; its ``config`` is ``config`` here.
        output: "text": (N, C); "tokens": (N, L, C); "embedding": (N, D); "causal": last hidden states (N, L, D), of
            which ``output_layer`` makes the logits of the next token.
        stages: paths of the embeddings and of each encoder layer, whose outputs are (N, L, D); () where the layers
            lie in no list.
        head_path: path of the linear layer whose input is a text's embedding (N, D). With output "embedding" there is
            none, and "head", an identity, reads and gives the embedding. None: no such layer (tokens, decoders).
        attention: of each encoder layer the paths of its query, key and value projections, each of which gives
            (N, L, heads · d_head); () where they are fused.
        num_heads: of each layer's self-attention.
        max_length: most tokens of a text; None: no limit of the model's own.
        pooling: of output "embedding".
        note: what became of the head of its weights, in a few words; "": they have none of their own.
        accepted: names of the model's arguments; other inputs are left out.

    A hook on any of these paths leaves scaled dot-product attention (sdpa) on, where the model has it.
    """

    def __init__(
        self, model: "PreTrainedModel", output: Output = "text", pooling: Pooling | None = None, note: str = ""
    ) -> None:
        super().__init__()
        self.note = note
        self.model = model
        self.output = output
        self.pooling = (pooling or Pooling()) if output == "embedding" else None
        self.accepted = frozenset(inspect.signature(model.forward).parameters)
        config: Any = model.config
        layers = structure.layer_list(model, config.num_hidden_layers)
        modules = list(model.get_submodule(layers)) if layers is not None else []
        paths = [f"model.{layers}.{i}" for i in range(len(modules))]
        self.layer_list = layers
        self.stages: tuple[str, ...] = (f"model.{structure.embeddings(model)}", *paths) if paths else ()
        self.attention: tuple[tuple[str, ...], ...] = tuple(
            tuple(f"{path}.{projection}" for projection in structure.projections(module))
            for path, module in zip(paths, modules, strict=True)
        )
        self.num_heads = int(config.num_attention_heads)
        self.max_length = structure.longest_input(model)
        self.head_path = self._head_path()
        if output == "embedding":
            self.head = nn.Identity()
        self.train()  # from_pretrained gives eval mode, in which a trained model would have no dropout

    @property
    def config(self) -> Any:
        """The configuration of transformers; ``id2label`` has the classes' names."""
        return self.model.config

    @property
    def output_layer(self) -> nn.Linear | None:  # type: ignore[override]
        """With output "causal" what makes logits (N, L, C) of the hidden states; else None."""
        return self.model.get_output_embeddings() if self.output == "causal" else None

    @property
    def num_embeddings(self) -> int:
        """Ids of tokens that the model has an embedding of."""
        return int(self.model.get_input_embeddings().num_embeddings)

    def extra_repr(self) -> str:
        """What shapes it beside its modules: the configuration, and the pooling."""
        config = {key: value for key, value in self.config.to_dict().items() if key not in ("_name_or_path", "dtype")}
        digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()[:12]
        return f"config={digest}, pooling={self.pooling}"

    def _head_path(self) -> str | None:
        if self.output == "causal":
            return None
        if self.output == "embedding":
            return "head"
        path = structure.classifier(self.model, self.config.num_labels)
        per_text = self.output == "text" and path is not None and path != "score"  # of decoders: before they choose one
        return f"model.{path}" if per_text else None

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Logits (N, C), of output "tokens" (N, L, C); of "embedding" embeddings (N, D), of "causal" states (N, L, D).

        Args:
            inputs: ``input_ids`` and ``attention_mask``, int64 (N, L), perhaps ``token_type_ids``; what the model has
                no argument for is left out.

        Raises:
            TypeError: the inputs are no dict, as those of images.
        """
        if not isinstance(inputs, dict):
            raise TypeError(f"a text model takes a dict with input_ids and attention_mask, got {type(inputs).__name__}")
        if self.output == "causal":
            return last_hidden_states(self.model, inputs)
        output: Any = self.model(**{key: value for key, value in inputs.items() if key in self.accepted})
        if self.pooling is None:
            logits: Tensor = output.logits
            return logits
        embedding: Tensor = self.head(self.pooling(output.last_hidden_state, inputs["attention_mask"]))
        return embedding

    def deployed(self) -> nn.Module:
        """The model as it is used: with output "causal" its logits (N, L, C), as they are measured; else itself."""
        return self if self.output != "causal" else _WithLogits(self)

    def save_config(self, folder: str | Path) -> None:
        """Writes into a folder that exists what :func:`hf_model` needs to build it without weights: JSON."""
        config = deepcopy(self.config)
        if hasattr(config, "auto_map"):
            del config.auto_map  # code of a repository, which is never run
        config.save_pretrained(folder)
        if self.pooling is not None:
            self.pooling.save(Path(folder), int(config.hidden_size))

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes config.json and model.safetensors that plain ``from_pretrained`` of transformers loads.

        With output "embedding" also ``modules.json`` and ``1_Pooling``, with which sentence-transformers loads it.

        Raises:
            OSError: the folder cannot be written.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(folder)
        if self.pooling is not None:
            self.pooling.save(folder, int(self.config.hidden_size))


class _WithLogits(nn.Module):
    """A language model with its output layer behind it."""

    def __init__(self, model: TextModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        head = self.model.output_layer
        assert head is not None
        logits: Tensor = head(self.model(inputs))
        return logits


def called_with_dicts(model: Any, name: str) -> Any:
    """A model of transformers that classifies texts as a :class:`TextModel` around it; any other model as it is.

    Args:
        model: any module, or None.
        name: of it, for error messages ("the student").

    Raises:
        UserError: a model of transformers without a head, or with that of another task.
    """
    if not any(cls.__name__ == "PreTrainedModel" for cls in type(model).__mro__):
        return model
    cls, _, head = type(model).__name__.rpartition("For")
    takes = "distill.Distiller takes models that classify texts (AutoModelForSequenceClassification)"
    if not hasattr(model, "classifier") and not cls and head.endswith("Model"):
        raise UserError(f"{name}, a {head}, has no head: {takes}")
    if cls and (head == "TokenClassification" or not head.endswith("Classification")):
        raise UserError(f"{name} is a {cls}For{head}: {takes}; distill.train has other tasks, as task=tokens")
    if head == "SequenceClassification" and model.config.num_labels == 1:
        raise UserError(f"{name} has one output, a number: {takes}; distill.train has task=regression")
    return TextModel(model)
