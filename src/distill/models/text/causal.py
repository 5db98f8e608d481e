"""A causal language model: rows of packed documents in, last hidden states out, of which its head makes logits."""

from typing import Any

import torch
from torch import Tensor

from distill.utils.errors import UserError, first_line

TRIED = 4  # tokens of a document in the trial


def last_hidden_states(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """The last hidden states (N, L, D), after the final norm.

    Args:
        model: a causal model of transformers.
        inputs: ``input_ids``, int64 (N, L); with ``position_ids`` that restart where a document begins, tokens see
            those of their own document before them, and nothing else.
    """
    given = {"input_ids": inputs["input_ids"], "use_cache": False}
    if "position_ids" in inputs:  # without a mask, transformers reads the documents from the positions
        given["position_ids"] = inputs["position_ids"]
    else:
        given["attention_mask"] = inputs.get("attention_mask")
    hidden: Tensor = model.base_model(**given).last_hidden_state
    return hidden


@torch.no_grad()
def check_causal(model: Any, name: str) -> None:
    """A UserError for a model whose logits are not its output layer's, or that does not keep packed documents apart.

    Args:
        model: of transformers.
        name: of it, for the message.
    """
    head, device = model.get_output_embeddings(), next(model.parameters()).device
    if not isinstance(head, torch.nn.Linear):
        raise UserError(f"{name} ({type(model).__name__}) has no linear output layer, which task=causal_lm needs")
    ids = torch.arange(2 * TRIED, device=device)[None] % model.config.get_text_config().vocab_size
    training = model.training
    model.eval()
    try:
        plain = model(input_ids=ids, use_cache=False).logits
        alone = torch.cat([_apart(model, ids, TRIED), _apart(model, ids, 1)])
        places = torch.arange(2 * TRIED, device=device)
        positions = torch.stack([places % TRIED, (places - 1).clamp(min=0)])  # documents of 4 and 4, of 1 and 7
        packed = last_hidden_states(model, {"input_ids": ids.expand(2, -1), "position_ids": positions})
        first = head(last_hidden_states(model, {"input_ids": ids}))
    except Exception as error:  # whatever an architecture raises
        raise UserError(f"{name} ({type(model).__name__}) cannot run as a causal model: {first_line(error)}") from error
    finally:
        model.train(training)
    if not _alike(first, plain):
        raise UserError(
            f"{name} ({type(model).__name__}) makes its logits otherwise than by its output layer alone (as by a scale "
            "or a cap), which task=causal_lm does not support"
        )
    if not _alike(packed, alone):
        raise UserError(
            f"{name} ({type(model).__name__}) does not keep documents apart that share a row: it is no causal model "
            "whose attention follows position_ids"
        )


def _apart(model: Any, ids: Tensor, first: int) -> Tensor:
    """The hidden states of two documents, the first of so many tokens, that share no row."""
    return torch.cat([last_hidden_states(model, {"input_ids": part}) for part in (ids[:, :first], ids[:, first:])], 1)


def _alike(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() <= 1e-3 * other.abs().max().clamp(min=1e-6))
