"""Where a model of transformers has its embeddings, encoder layers, projections and classifier: module paths."""

from typing import Any

from torch import nn

QUERY = ("query", "q_lin", "q_proj", "query_proj", "q")
KEY = ("key", "k_lin", "k_proj", "key_proj", "k")
VALUE = ("value", "v_lin", "v_proj", "value_proj", "v")


def layer_list(model: nn.Module, num_layers: int) -> str | None:
    """Path of the list of encoder layers; None where there is no such list, or it cannot be told which.

    It is the only ``nn.ModuleList`` of ``num_layers`` modules of one class that lies in no other such list. ALBERT,
    whose layers share one set of weights, and XLM, which keeps the parts of its layers in four lists, have none.
    """
    paths = [
        path
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == num_layers and len({type(m) for m in module}) == 1
    ]
    outer = [path for path in paths if not any(path.startswith(f"{other}.") for other in paths)]
    return outer[0] if len(outer) == 1 else None


def embeddings(model: Any) -> str | None:
    """Path of the module whose output the first encoder layer reads; of a model without one, of its token embedding."""
    base = model.base_model
    inner = (
        base.embeddings if isinstance(getattr(base, "embeddings", None), nn.Module) else model.get_input_embeddings()
    )
    return next((path for path, module in model.named_modules() if module is inner), None)


def projections(layer: nn.Module) -> tuple[str, ...]:
    """Paths of a layer's query, key and value projections in self-attention, of one width; () where they are fused."""
    linear = {path: module for path, module in layer.named_modules() if isinstance(module, nn.Linear)}
    for path in linear:
        parent, _, last = path.rpartition(".")
        if last not in QUERY:
            continue
        index = QUERY.index(last)
        found = tuple(f"{parent}.{names[index]}".removeprefix(".") for names in (QUERY, KEY, VALUE))
        if all(p in linear for p in found) and len({linear[p].out_features for p in found}) == 1:
            return found
    return ()


def classifier(model: Any, num_labels: int) -> str | None:
    """Path of the last linear layer outside of the encoder that has ``num_labels`` outputs."""
    if model.base_model is model:
        return None
    inside = f"{model.base_model_prefix}."
    return next(
        (
            path
            for path, module in reversed(list(model.named_modules()))
            if isinstance(module, nn.Linear) and module.out_features == num_labels and not path.startswith(inside)
        ),
        None,
    )


def longest_input(model: Any) -> int | None:
    """How many tokens the model has positions for; None: its positions do not end (relative, rotary)."""
    for path, module in model.named_modules():
        if path.rpartition(".")[2] in ("position_embeddings", "wpe") and isinstance(module, nn.Embedding):
            offset = module.padding_idx + 1 if module.padding_idx is not None else 0  # of RoBERTa and its kin
            return module.num_embeddings - offset
    return None
