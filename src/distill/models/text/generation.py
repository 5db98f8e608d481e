"""Continuations of prompts by a causal model, with its key-value cache."""

from collections.abc import Sequence
from typing import Any

import torch

from distill.utils.errors import UserError
from distill.utils.modes import evaluating

_PLAIN = {"num_beams": 1, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0}  # whatever the model's files prefer


def continuations(
    model: Any, tokenizer: Any, prompts: Sequence[str], max_new_tokens: int, temperature: float = 0.0
) -> list[str]:
    """What a model writes after each prompt, without special tokens.

    Args:
        model: a causal model of transformers.
        tokenizer: of transformers.
        prompts: texts, none of them empty.
        max_new_tokens: at most so many tokens; it ends before where the model ends the text.
        temperature: of the distribution that tokens are drawn from; 0: the likeliest token each time.

    Raises:
        UserError: a prompt that has no token.
    """
    device = next(model.parameters()).device
    ids = [list(each) for each in tokenizer(list(prompts))["input_ids"]]
    end = tokenizer.eos_token_id
    for number, row in enumerate(ids, 1):
        if row and row[-1] == end:
            row.pop()  # a tokenizer that ends each text
        if not row:
            raise UserError(f"the tokenizer makes no token of text {number}")
    longest = max(map(len, ids))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end or 0
    inputs = torch.tensor([[pad] * (longest - len(row)) + row for row in ids], device=device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in ids], device=device)
    drawn: dict[str, Any] = {"do_sample": False, **_PLAIN}
    if temperature:
        drawn |= {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    with evaluating(model), torch.no_grad():
        found = model.generate(
            inputs, attention_mask=mask, max_new_tokens=max_new_tokens, pad_token_id=pad, eos_token_id=end, **drawn
        )
    return [str(text) for text in tokenizer.batch_decode(found[:, longest:], skip_special_tokens=True)]
