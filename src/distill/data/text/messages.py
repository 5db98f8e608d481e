"""Conversations of a column ``messages``: what is wrong with one, and one as a line of text."""

import json
from typing import Any

from distill.data.text.problems import kind, problem


def messages_problem(value: Any, what: str = "messages") -> str | None:
    """What is wrong with a conversation, a list of objects with ``role`` and ``content``; None: nothing."""
    if not isinstance(value, list) or not value:
        return f"the {what} must be a list of messages with role and content, got {kind(value)}"
    for number, message in enumerate(value, 1):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            return f"message {number} of the {what} must be an object with role and content, got {kind(message)}"
        wrong = problem(message.get("content"), f"content of message {number}")
        if wrong is not None:
            return wrong
    if not any(message["role"] == "assistant" for message in value):
        return f"the {what} hold no answer: no message has the role assistant"
    return None


def as_line(messages: Any) -> str:
    """A conversation as the JSON that a ``TextSet`` with ``chat`` keeps; what is null is left out."""
    kept = [{key: value for key, value in message.items() if value is not None} for message in messages]
    return json.dumps(kept, ensure_ascii=False)
