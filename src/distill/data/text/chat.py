"""Conversations as the text that a tokenizer's own chat template makes of them, and where the answers stand in it."""

import re
from collections.abc import Sequence
from typing import Any

from distill.utils.errors import UserError, first_line

_MARKER = re.compile(r"\{%-?\s*generation\s*-?%\}")
Span = tuple[int, int]  # of characters


def answers_of(tokenizer: Any, name: str, messages: Sequence[dict[str, Any]], where: str) -> tuple[str, list[Span]]:
    """The text of a conversation, and the characters of the assistant's answers in it.

    A template with ``{% generation %}`` says itself which they are. Otherwise an answer is what the template adds to
    the conversation before it with the prompt for an answer.

    Args:
        tokenizer: of transformers, with a ``chat_template``.
        name: of the tokenizer.
        messages: each with ``role`` and ``content``.
        where: the conversation's place in the user's files.

    Raises:
        UserError: no template, one that fails, or one that renders earlier messages otherwise when later ones follow.
    """
    template = tokenizer.chat_template
    if not isinstance(template, str):
        raise UserError(f"{where} is a conversation, and the tokenizer {name} has no chat template (chat_template)")

    def rendered(part: Sequence[dict[str, Any]], prompt: bool = False) -> str:
        return str(tokenizer.apply_chat_template(list(part), tokenize=False, add_generation_prompt=prompt))

    try:
        if _MARKER.search(template):
            return _marked(tokenizer, template, messages)
        whole, spans = rendered(messages), []
        for number, message in enumerate(messages):
            if message["role"] == "assistant":
                begin, end = rendered(messages[:number], prompt=True), rendered(messages[: number + 1])
                if not (whole.startswith(end) and end.startswith(begin)):
                    raise UserError(
                        f"{where}: the chat template of {name} renders message {number + 1} otherwise when others "
                        "follow, so where the answer stands cannot be told: mark it with {% generation %}"
                    )
                spans.append((len(begin), len(end)))
        return whole, spans
    except UserError:
        raise
    except Exception as error:  # whatever a template raises
        raise UserError(f"{where}: the chat template of {name} fails: {first_line(error)}") from error


def _marked(tokenizer: Any, template: str, messages: Sequence[dict[str, Any]]) -> tuple[str, list[Span]]:
    from transformers.utils.chat_template_utils import render_jinja_template

    made: Any = render_jinja_template(
        [list(messages)], chat_template=template, return_assistant_tokens_mask=True, **tokenizer.special_tokens_map
    )
    texts, spans = made
    return texts[0], [(begin, end) for begin, end in spans[0]]
